"""Texts in padded batches, as people cut them: in their order, or sorted by length."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

Feed = dict[str, Any]


class Batches:
    """A tokenizer that pads.

    Args:
        directory: with tokenizer.json.
        limit: tokens of a text; the rest is cut off.
    """

    def __init__(self, directory: Path, limit: int = 512) -> None:
        self._tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self._tokenizer.enable_truncation(limit)
        self._tokenizer.enable_padding(pad_id=1, pad_token="<pad>")  # noqa: S106

    def feed(self, texts: list[str]) -> Feed:
        """input_ids and attention_mask, (n, longest) int64."""
        encodings = self._tokenizer.encode_batch(texts)
        return {
            "input_ids": np.array([e.ids for e in encodings], dtype=np.int64),
            "attention_mask": np.array([e.attention_mask for e in encodings], dtype=np.int64),
        }

    def run(
        self, run: Callable[[Feed], Any], texts: list[str], *, batch: int, sort: bool
    ) -> list[list[float]]:
        """Logits of each text, (n, classes).

        Args:
            run: from a feed to logits as an array.
            texts: n texts.
            batch: texts of one run.
            sort: by length in characters, before the batches are cut.
        """
        found: list[Any] = [None] * len(texts)
        for group in cut(texts, batch, sort=sort):
            rows = run(self.feed([texts[i] for i in group])).tolist()
            for i, row in zip(group, rows, strict=True):
                found[i] = row
        return found


def cut(texts: list[str], batch: int, *, sort: bool) -> list[list[int]]:
    """Positions of the texts of each batch."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i])) if sort else range(len(texts))
    return [list(order[at : at + batch]) for at in range(0, len(texts), batch)]
