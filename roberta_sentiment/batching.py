"""Which sequences run together: neighbours in length, within a budget of padded tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

RUN_TOKENS = 24
"""What one more run of the model costs, in tokens; padding beyond it is dearer than a new run."""


def fits(
    length: int, longest: int, rows: int, *, budget: int, equal_lengths: bool, most: int | None
) -> bool:
    """Whether a sequence may join a batch of longer ones.

    Args:
        length: tokens of the sequence, at most `longest`.
        longest: tokens of the batch's longest sequence.
        rows: sequences in the batch.
        budget: most tokens in a batch, padding included.
        equal_lengths: only sequences of one length share a batch (a graph without a mask).
        most: most sequences in a batch.
    """
    return (
        longest * (rows + 1) <= budget
        and longest - length <= (0 if equal_lengths else RUN_TOKENS)
        and (most is None or rows < most)
    )


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
