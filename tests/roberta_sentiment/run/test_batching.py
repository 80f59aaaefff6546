"""Batches: who may join, and where the padding goes."""

from __future__ import annotations

import numpy as np
import pytest

from roberta_sentiment.run.batching import RUN_TOKENS, Padding, fits, pad

EVERYWHERE, FORBIDDEN = Padding.EVERYWHERE, Padding.FORBIDDEN
ATTENTION, NOWHERE = Padding.ATTENTION, Padding.NOWHERE


@pytest.mark.parametrize(
    ("expected", "length", "longest", "rows", "padding", "most"),
    [
        pytest.param(True, 100, 100, 1, EVERYWHERE, None, id="within the budget"),
        pytest.param(True, 125, 125, 1, EVERYWHERE, None, id="fills the budget"),
        pytest.param(False, 100, 100, 2, EVERYWHERE, None, id="over the budget"),
        pytest.param(True, 100 - RUN_TOKENS, 100, 1, EVERYWHERE, None, id="padding pays"),
        pytest.param(False, 99 - RUN_TOKENS, 100, 1, EVERYWHERE, None, id="padding costs more"),
        pytest.param(True, 1, 70, 1, ATTENTION, None, id="a short attention costs little"),
        pytest.param(True, 120, 120, 1, ATTENTION, None, id="no padding at all"),
        pytest.param(True, 100, 110, 1, ATTENTION, None, id="little padding of a long attention"),
        pytest.param(False, 1, 120, 1, ATTENTION, None, id="a long attention costs more"),
        pytest.param(False, 70, 70, 3, ATTENTION, None, id="padding counts in the budget"),
        pytest.param(True, 1, 249, 1, NOWHERE, None, id="padding costs nothing"),
        pytest.param(True, 70, 90, 2, NOWHERE, None, id="nor counts in the budget"),
        pytest.param(False, 71, 90, 2, NOWHERE, None, id="over the budget without padding"),
        pytest.param(False, 99, 100, 1, FORBIDDEN, None, id="no mask, another length"),
        pytest.param(True, 100, 100, 1, FORBIDDEN, None, id="no mask, the same length"),
        pytest.param(False, 10, 10, 1, EVERYWHERE, 1, id="one at a time"),
    ],
)
def test_who_may_join(
    *, expected: bool, length: int, longest: int, rows: int, padding: Padding, most: int | None
) -> None:
    """Each rule decides by itself."""
    assert expected == fits(
        length, longest, rows, tokens=longest * rows, budget=250, padding=padding, most=most
    )


@pytest.mark.parametrize("padding", [EVERYWHERE, ATTENTION])
def test_where_a_run_costs_more_more_padding_pays(padding: Padding) -> None:
    """A GPU computes on much padding in the time that it takes to begin a run."""
    expected = [False, True]
    assert expected == [
        fits(60, 180, 1, tokens=180, budget=999, padding=padding, most=None, run_cost=cost)
        for cost in (1, 16)
    ]


def test_padding_is_on_the_right() -> None:
    """Positions count from the left, so padding there would shift them."""
    ids, lengths = pad([[5], [6, 7, 8]], pad_id=1)
    np.testing.assert_array_equal([[5, 1, 1], [6, 7, 8]], ids)
    np.testing.assert_array_equal([1, 3], lengths)
    assert ids.dtype == lengths.dtype == np.int64
