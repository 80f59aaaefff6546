"""Batches: nothing lost, the budget held."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from roberta_sentiment.batching import pad, plan

lengths_lists = st.lists(st.integers(1, 512), max_size=200)


@given(lengths_lists, st.integers(1, 2000))
def test_every_sequence_is_in_one_batch_within_the_budget(lengths: list[int], budget: int) -> None:
    """A lost or doubled position is a lost or doubled answer; the budget bounds memory."""
    batches = plan(lengths, budget=budget)
    assert list(range(len(lengths))) == sorted(i for batch in batches for i in batch)
    for batch in batches:
        longest = max(lengths[i] for i in batch)
        assert len(batch) == 1 or longest * len(batch) <= budget


@given(lengths_lists, st.integers(1, 2000))
def test_equal_lengths_share_a_batch_only_with_their_like(lengths: list[int], budget: int) -> None:
    """A graph without a mask attends to padding, so there must be none."""
    for batch in plan(lengths, budget=budget, equal_lengths=True):
        assert len({lengths[i] for i in batch}) == 1


@given(lengths_lists, st.integers(1, 5))
def test_no_batch_holds_more_than_most(lengths: list[int], most: int) -> None:
    """A model whose answers depend on batch mates runs one at a time."""
    assert all(len(batch) <= most for batch in plan(lengths, budget=10_000, most=most))


def test_neighbours_in_length_share_a_batch() -> None:
    """Sorting is what saves the padding: 2 long and 2 short texts need two batches, not four."""
    assert [[0, 2], [1, 3]] == plan([100, 10, 100, 10], budget=200)


def test_padding_is_on_the_right() -> None:
    """Positions count from the left, so padding there would shift them."""
    ids, lengths = pad([[5], [6, 7, 8]], pad_id=1)
    np.testing.assert_array_equal([[5, 1, 1], [6, 7, 8]], ids)
    np.testing.assert_array_equal([1, 3], lengths)
    assert ids.dtype == lengths.dtype == np.int64
