"""Plots as `<svg>` elements by themselves, the same for the same figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from ab.stats.interval import Interval
from roberta_sentiment.tools.output import draw_svg

COLOURS = ("#33658a", "#e07a5f", "#5b8c5a", "#8d6a9f")

_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def svg(name: str, draw: Callable[[Axes], None], height: float, width: float = 7.5) -> str:
    """One plot. The name keeps its inner ids apart from those of the other plots in a page."""
    return draw_svg(name, lambda figure: draw(figure.subplots()), (width, height), _STYLE)


def bar(axes: Axes, interval: Interval, y: float, colour: str) -> None:
    """A dot with its interval; an open end has no cap."""
    value = interval.value
    if value is None:
        return
    low = value if interval.low is None else interval.low
    high = value if interval.high is None else interval.high
    errors: Any = [[max(0.0, value - low)], [max(0.0, high - value)]]
    axes.errorbar([value], [y], xerr=errors, fmt="o", color=colour, capsize=4)


def accuracy(models: Sequence[tuple[str, Interval, str]]) -> str:
    """Accuracy of every model with its interval: name, interval and colour of each."""

    def draw(axes: Axes) -> None:
        for y, (_, interval, colour) in enumerate(models):
            bar(axes, interval, y, colour)
        axes.set_yticks(range(len(models)), [name for name, *_ in models])
        axes.set_ylim(len(models) - 0.5, -0.5)
        axes.set_xlabel("accuracy, with its 95 % interval")
        axes.xaxis.set_major_formatter(PercentFormatter(1))

    return svg("accuracy", draw, height=1.1 + 0.4 * len(models))
