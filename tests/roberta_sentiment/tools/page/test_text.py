"""Figures as text."""

from __future__ import annotations

import pytest

from roberta_sentiment.tools.page.text import millis, number, p_value, percent, shortened


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        ("90.5%", percent(0.9049)),
        ("0.810", number(0.81)),
        ("1,234.5", millis(1.2345)),
        ("10.0", millis(0.01)),
        ("2.35", millis(0.002346)),
        ("0.05", p_value(0.0500001)),
        ("1e-12", p_value(1e-12)),
        ("below 1e-12", p_value(9e-13)),
    ],
)
def test_a_figure_has_the_digits_that_matter(expected: str, text: str) -> None:
    """The same on a terminal and on a page."""
    assert expected == text


def test_what_is_not_known_is_a_dash() -> None:
    """Not 0, and not None."""
    assert {"-"} == {show(None) for show in (percent, number, millis, p_value)}


@pytest.mark.parametrize(("expected", "most"), [("abcdefgh", 8), ("abc…fgh", 7), ("abc…gh", 6)])
def test_a_long_name_loses_its_middle(expected: str, most: int) -> None:
    """Versions differ at their ends."""
    assert expected == shortened("abcdefgh", most)
