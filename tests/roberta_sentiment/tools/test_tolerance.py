"""How far an answer may depend on the batch."""

from __future__ import annotations

import pytest

from roberta_sentiment.tools.tolerance import batch_tolerance


@pytest.mark.parametrize(("expected", "precision"), [(1e-5, "fp32"), (1e-3, "int8")])
def test_eight_bits_may_differ_by_more(expected: float, precision: str) -> None:
    """The README promises these two figures."""
    assert expected == batch_tolerance(precision)
