"""Figures of a test as text, for the terminal and the pages alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rich.console import Console
from rich.table import Table

from ab.stats.interval import Interval
from roberta_sentiment.tools.page.text import NONE

Rows = list[tuple[str, str]]
"""Names and figures."""


def points(value: float | None) -> str:
    """A difference of shares, in percentage points."""
    return NONE if value is None else f"{100 * value:+.1f} points"


def bounds(interval: Interval, show: Callable[[float | None], str]) -> str:
    """Both bounds of an interval; one that the data can't bound is left open."""
    low, high = interval.low, interval.high
    if low is not None and high is not None:
        return f"{show(low)} to {show(high)}"
    if low is None and high is None:
        return NONE
    return f"below {show(high)}" if low is None else f"above {show(low)}"


def with_bounds(interval: Interval, show: Callable[[float | None], str]) -> str:
    """An estimate and its interval."""
    return f"{show(interval.value)}, {bounds(interval, show)}"


def counts(numbers: Mapping[str, int]) -> str:
    """Numbers by name."""
    return ", ".join(f"{name} {n:,}" for name, n in numbers.items()) or "0"


def needed(answers: int | None) -> str:
    """Further answers until a verdict."""
    if answers == 0:
        return "none"
    return "over 200 times as many" if answers is None else f"about {answers:,}"


def show_rows(console: Console, pairs: Rows) -> None:
    """Print names and texts as a table."""
    table = Table(show_header=False)
    for pair in pairs:
        table.add_row(*pair)
    console.print(table)
