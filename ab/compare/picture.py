"""The plots of a comparison."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from ab.compare.analysis import Comparison
from ab.plot import COLOURS, bar, svg


def accuracy(comparison: Comparison) -> str:
    """Accuracy of both models with its interval."""
    c = comparison

    def draw(axes: Axes) -> None:
        for place, interval in enumerate((c.accuracy_a, c.accuracy_b)):
            bar(axes, interval, place, COLOURS[place])
        axes.set_yticks((0, 1), (c.a, c.b))
        axes.set_ylim(1.5, -0.5)
        axes.set_xlabel("accuracy, with its 95 % interval")
        axes.xaxis.set_major_formatter(PercentFormatter(1))

    return svg("accuracy", draw, height=1.9)


def pairs(comparison: Comparison) -> str:
    """Texts by which model was right."""
    c = comparison
    counts = {
        "both right": c.pairs.both,
        f"only {c.a} right": c.pairs.only_a,
        f"only {c.b} right": c.pairs.only_b,
        "neither right": c.pairs.neither,
    }

    def draw(axes: Axes) -> None:
        bars = axes.barh(list(counts), list(counts.values()), color=["grey", *COLOURS[:2], "grey"])
        axes.bar_label(bars, [f"{n:,}" for n in counts.values()], padding=3)
        axes.invert_yaxis()
        axes.set_xlabel("texts with a truth")

    return svg("pairs", draw, height=2.4)
