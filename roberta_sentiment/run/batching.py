"""Which sequences run together: neighbours in length, within a budget of padded tokens."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

RUN_TOKENS = 10
"""What one more run of the model costs, in tokens; padding beyond it costs more than a new run."""
ATTENTION_PAIRS = 6_000
"""Pairs of tokens that attention may compute for padding to save a run."""


class Padding(enum.Enum):
    """What padding costs a graph."""

    FORBIDDEN = "the graph has no mask, padding changes answers"
    EVERYWHERE = "every operator works on padding"
    ATTENTION = "only the attention works on padding"
    NOWHERE = "no operator works on padding"


def fits(
    length: int,
    longest: int,
    rows: int,
    *,
    tokens: int,
    budget: int,
    padding: Padding,
    most: int | None,
    run_cost: int = 1,
) -> bool:
    """Whether a sequence may join a batch of longer ones.

    Args:
        length: tokens of the sequence, at most `longest`.
        longest: tokens of the batch's longest sequence.
        rows: sequences in the batch.
        tokens: of these.
        budget: most tokens in a batch, padding included.
        padding: what it costs.
        most: most sequences in a batch.
        run_cost: how many times as much a run costs as on a CPU, in tokens.
    """
    size = tokens + length if padding is Padding.NOWHERE else longest * (rows + 1)
    if size > budget or (most is not None and rows >= most):
        return False
    if padding is Padding.NOWHERE:
        return True
    if padding is Padding.FORBIDDEN:
        return length == longest
    if padding is Padding.EVERYWHERE:
        return longest - length <= RUN_TOKENS * run_cost
    return longest**2 - length**2 <= ATTENTION_PAIRS * run_cost


def pad(
    sequences: Sequence[Sequence[int]], pad_id: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Right-pad sequences of token ids to one length.

    Args:
        sequences: n sequences of ids.
        pad_id: id of the padding token.

    Returns:
        ids (n, longest) int64 and lengths (n,) int64.
    """
    lengths = np.array([len(s) for s in sequences], dtype=np.int64)
    ids = np.full((len(sequences), int(lengths.max())), pad_id, dtype=np.int64)
    for row, sequence in zip(ids, sequences, strict=True):
        row[: len(sequence)] = sequence
    return ids, lengths
