"""Which texts run together: sorted by length, cut by a budget of padded tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def plan(
    lengths: Sequence[int],
    *,
    budget: int,
    equal_lengths: bool = False,
    most: int | None = None,
) -> list[list[int]]:
    """Cut sequences into batches.

    Sequences are taken from the longest to the shortest, so that neighbours have about the same
    length and the largest memory is asked for first.

    Args:
        lengths: tokens of each of n sequences, each at least 1.
        budget: most tokens in a batch, padding included; a longer sequence runs alone.
        equal_lengths: only sequences of one length share a batch (a graph without a mask).
        most: most sequences in a batch.

    Returns:
        Batches of positions in `lengths`; every position is in exactly one batch.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    batches: list[list[int]] = []
    for i in order:
        batch = batches[-1] if batches else []
        longest = lengths[batch[0]] if batch else 0
        fits = (
            batch
            and longest * (len(batch) + 1) <= budget
            and (most is None or len(batch) < most)
            and (not equal_lengths or lengths[i] == longest)
        )
        if fits:
            batch.append(i)
        else:
            batches.append([i])
    return batches


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
