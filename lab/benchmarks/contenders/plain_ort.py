"""ONNX Runtime as its documentation uses it. Argument: the model's directory."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from lab.benchmarks.contenders.loop import serve


class PlainClassifier:
    """A tokenizer that pads and a session with its default options.

    Args:
        directory: with tokenizer.json and model.onnx.
        limit: tokens of a text; the rest is cut off.
    """

    def __init__(self, directory: Path, limit: int = 512) -> None:
        self._tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self._tokenizer.enable_truncation(limit)
        self._tokenizer.enable_padding(pad_id=1, pad_token="<pad>")  # noqa: S106
        self._session = onnxruntime.InferenceSession(
            str(directory / "model.onnx"), providers=["CPUExecutionProvider"]
        )

    def classify(self, texts: list[str], batch: int = 1, sort: bool = False) -> list[list[float]]:
        """Logits of each text, (n, classes).

        Args:
            texts: n texts.
            batch: texts of one run.
            sort: by length in characters, before the batches are cut.
        """
        order = (
            sorted(range(len(texts)), key=lambda i: len(texts[i])) if sort else range(len(texts))
        )
        found: list[Any] = [None] * len(texts)
        for at in range(0, len(texts), batch):
            group = list(order[at : at + batch])
            for i, row in zip(group, self._run([texts[i] for i in group]), strict=True):
                found[i] = row
        return found

    def _run(self, texts: list[str]) -> list[list[float]]:
        encodings = self._tokenizer.encode_batch(texts)
        feed = {
            "input_ids": np.array([e.ids for e in encodings], dtype=np.int64),
            "attention_mask": np.array([e.attention_mask for e in encodings], dtype=np.int64),
        }
        logits: list[list[float]] = self._session.run(["logits"], feed)[0].tolist()
        return logits


if __name__ == "__main__":
    serve(PlainClassifier(Path(sys.argv[1])).classify, ("onnxruntime", "tokenizers"))
