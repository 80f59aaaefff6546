"""The comparison as an HTML page."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes

from ab import html, plot
from ab.compare.analysis import PairedComparison
from ab.compare.show import cells, known_first, rows, verdict
from ab.plot import COLOURS, svg


def render(comparison: PairedComparison) -> str:
    """The comparison for people, with every text that the models label differently."""
    return html.render(
        Path(__file__).parent,
        comparison=comparison,
        verdict=verdict(comparison),
        rows=rows(comparison),
        disagreements=[cells(each) for each in known_first(comparison)],
        pictures={"accuracy": _accuracy(comparison), "pairs": _pairs(comparison)},
    )


def _accuracy(comparison: PairedComparison) -> str:
    """Accuracy of both models with its interval."""
    c = comparison
    return plot.accuracy([(c.a, c.accuracy_a, COLOURS[0]), (c.b, c.accuracy_b, COLOURS[1])])


def _pairs(comparison: PairedComparison) -> str:
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
