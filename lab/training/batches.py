"""Batches of texts of similar length: padding is what costs most on short phrases."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

PAD_ID = 1
"""The id of `<pad>` in the student's vocabulary and in MPNet's."""
NO_TARGET = (math.nan, math.nan)
"""The target of a text that only a label is known of."""
_POOL = 50
"""Batches that are drawn together and sorted by length."""


@dataclass(frozen=True)
class Example:
    """One text to learn from."""

    text: str
    label: int
    """0, 1, or -1 where only the teacher labels."""
    target: tuple[float, float] = NO_TARGET
    """The teacher's logits (negative, positive)."""
    source: int = -1
    """Row of the text among those the teacher has seen, -1 for none."""


@dataclass(frozen=True)
class Batch:
    """Right-padded texts."""

    ids: Tensor
    """int64 [texts, tokens]."""
    mask: Tensor
    """int64 [texts, tokens], 1 for tokens and 0 for padding."""
    labels: Tensor
    """int64 [texts], -1 where unknown."""
    targets: Tensor
    """float32 [texts, 2], NaN without a teacher's answer."""
    sources: Tensor
    """int64 [texts], see `Example.source`."""
    rows: list[int]
    """Position of each text in the sequence the batches were made from."""


def _pad(encoded: list[list[int]], examples: Sequence[Example], rows: list[int]) -> Batch:
    width = max(len(encoded[row]) for row in rows)
    ids = torch.full((len(rows), width), PAD_ID, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for at, row in enumerate(rows):
        ids[at, : len(encoded[row])] = torch.tensor(encoded[row])
        mask[at, : len(encoded[row])] = 1
    labels = torch.tensor([examples[row].label for row in rows])
    targets = torch.tensor([examples[row].target for row in rows], dtype=torch.float32)
    sources = torch.tensor([examples[row].source for row in rows])
    return Batch(ids, mask, labels, targets, sources, rows)


def _cut(order: list[int], lengths: list[int], texts: int, tokens: int) -> list[list[int]]:
    """Cut rows sorted by length into batches within both budgets."""
    cuts: list[list[int]] = [[]]
    for row in order:
        width = max(lengths[row], *(lengths[other] for other in cuts[-1][-1:]), 1)
        if len(cuts[-1]) >= texts or (width * (len(cuts[-1]) + 1) > tokens and cuts[-1]):
            cuts.append([])
        cuts[-1].append(row)
    return [cut for cut in cuts if cut]


def make_batches(
    examples: Sequence[Example],
    tokenizer: Tokenizer,
    texts: int,
    tokens: int,
    draw: random.Random | None,
) -> list[Batch]:
    """Batches of at most `texts` texts and `tokens` tokens, padding included.

    With `draw`, texts are shuffled, sorted by length within pools of 50 batches, and the batches
    shuffled again; without it, all texts are sorted by length.
    """
    encoded = [e.ids for e in tokenizer.encode_batch([example.text for example in examples])]
    lengths = [len(ids) for ids in encoded]
    order = list(range(len(examples)))
    pool = len(order) or 1
    if draw:
        draw.shuffle(order)
        pool = texts * _POOL
    cuts = []
    for start in range(0, len(order), pool):
        part = sorted(order[start : start + pool], key=lengths.__getitem__)
        cuts += _cut(part, lengths, texts, tokens)
    if draw:
        draw.shuffle(cuts)
    return [_pad(encoded, examples, cut) for cut in cuts]
