"""Batches: who may join, and where the padding goes."""

from __future__ import annotations

import numpy as np
import pytest

from roberta_sentiment.batching import RUN_TOKENS, fits, pad


@pytest.mark.parametrize(
    ("expected", "length", "longest", "rows", "equal_lengths", "most"),
    [
        pytest.param(True, 100, 100, 1, False, None, id="within the budget"),
        pytest.param(False, 100, 100, 2, False, None, id="over the budget"),
        pytest.param(True, 100 - RUN_TOKENS, 100, 1, False, None, id="padding pays"),
        pytest.param(False, 99 - RUN_TOKENS, 100, 1, False, None, id="padding costs more"),
        pytest.param(False, 99, 100, 1, True, None, id="no mask, another length"),
        pytest.param(True, 100, 100, 1, True, None, id="no mask, the same length"),
        pytest.param(False, 10, 10, 1, False, 1, id="one at a time"),
    ],
)
def test_who_may_join(
    *, expected: bool, length: int, longest: int, rows: int, equal_lengths: bool, most: int | None
) -> None:
    """Each rule alone decides."""
    joins = fits(length, longest, rows, budget=250, equal_lengths=equal_lengths, most=most)
    assert expected == joins


def test_padding_is_on_the_right() -> None:
    """Positions count from the left, so padding there would shift them."""
    ids, lengths = pad([[5], [6, 7, 8]], pad_id=1)
    np.testing.assert_array_equal([[5, 1, 1], [6, 7, 8]], ids)
    np.testing.assert_array_equal([1, 3], lengths)
    assert ids.dtype == lengths.dtype == np.int64
