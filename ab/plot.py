"""Plots as `<svg>` elements by themselves, the same for the same figures."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ab.stats.interval import Interval

COLOURS = ("#33658a", "#e07a5f", "#5b8c5a", "#8d6a9f")

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def svg(name: str, draw: Callable[[Axes], None], height: float, width: float = 7.5) -> str:
    """One plot. The name keeps its inner ids apart from those of the other plots in a page."""
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.subplots())
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata=_NO_METADATA)
    content = text.getvalue()
    return content[content.index("<svg") :]


def bar(axes: Axes, interval: Interval, place: float, colour: str) -> None:
    """A dot with its interval; an open end has no cap."""
    value = interval.value
    if value is None:
        return
    low = value if interval.low is None else interval.low
    high = value if interval.high is None else interval.high
    errors: Any = [[max(0.0, value - low)], [max(0.0, high - value)]]
    axes.errorbar([value], [place], xerr=errors, fmt="o", color=colour, capsize=4)
