"""Plots as `<svg>` elements in the colours of the page, the same for the same figures.

They are drawn 360 px wide with letters of 12 px, so that a telephone shows them whole; a page with
more room enlarges them. Each bears its figures as text for those who don't see it.
"""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import numpy as np

from roberta_sentiment.tools.extras import need
from roberta_sentiment.tools.metrics import Bin
from roberta_sentiment.tools.page.text import percent, shortened

SERIES = ("#2f6690", "#b4502b", "#3f7d3c", "#7d5a96")
INK, MUTED, LINE = "#222222", "#5a5a5a", "#d8d8d8"

_PAGE_COLOURS = {
    INK: "currentColor",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    **{colour: f"var(--series-{i})" for i, colour in enumerate(SERIES, 1)},
}
"""What stands for a colour in the page, where it depends on light and dark."""

_WIDTH = 3.75
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), INK),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), MUTED),
}
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_NAME = 26
"""Characters of a name that stand beside its figures."""
NUMBERED = 6
"""Labels up to which each cell of a confusion has room for its number."""
_NAMED = 10
"""Mistakes that are named to those who don't see the shades."""
_STRONGEST = 0.5
"""Opacity of a full cell: text in the colour of the page's stays legible on it."""
_SPREAD = 5.0
"""Largest over smallest value above which a logarithmic axis shows them better."""


@dataclasses.dataclass(frozen=True)
class Mark:
    """A value of a plot with its interval.

    Attributes:
        name: what it is a value of.
        figures: value and interval as text.
        value: is drawn as a dot; nothing is drawn without.
        low, high: ends of the interval; None where it is open.
        colour: of `SERIES`.
    """

    name: str
    figures: str
    value: float | None
    low: float | None
    high: float | None
    colour: str = SERIES[0]


def draw_svg(name: str, says: str, draw: Callable[[Any], None], height: float) -> str:
    """A picture as an `<svg>` element.

    Args:
        name: keeps its inner ids apart from those of other pictures in a page.
        says: what it shows, with the figures, for those who don't see it.
        draw: draws on the Axes of matplotlib.
        height: in inches; it is 3.75 wide.

    Raises:
        StartError: matplotlib is not installed.
    """
    matplotlib, figures = need("matplotlib"), need("matplotlib.figure")
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = figures.Figure(figsize=(_WIDTH, height), layout="constrained")
        draw(figure.subplots())
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata=_NO_METADATA, transparent=True)
    content = text.getvalue()
    content = content[content.index("<svg") :].replace(
        "<svg", f'<svg role="img" aria-label="{escape(says)}"', 1
    )
    used = {*re.findall(r'(?:url\(|href=")#(\w+)', content)}
    return re.sub(r"<[^>]+>", lambda tag: _for_page(tag[0], used), content)


def _for_page(tag: str, used: set[str]) -> str:
    """A tag in the colours of the page; ids that nothing refers to go: every plot has the same."""
    tag = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", tag)
    return re.sub("|".join(_PAGE_COLOURS), lambda found: _PAGE_COLOURS[found[0]], tag)


def show_percent(axis: Any) -> None:
    """Give an axis of shares a few ticks in percent."""
    ticker = need("matplotlib.ticker")
    axis.set_major_locator(ticker.MaxNLocator(5))
    axis.set_major_formatter(ticker.PercentFormatter(1))


def intervals(name: str, title: str, marks: Sequence[Mark], kind: str = "share") -> str:
    """Values with their intervals, one below the other; an open end is an arrow.

    Args:
        name: see `draw_svg`.
        title: of the axis.
        marks: at least one.
        kind: `share` of 1, or `seconds`, shown in ms from 0, or logarithmic if they vary a lot.
    """
    unit = 1000 if kind == "seconds" else 1
    values = [unit * mark.value for mark in marks if mark.value is not None]
    spread = unit > 1 and max(values, default=0) > _SPREAD * max(min(values, default=0), 1e-9)

    def draw(axes: Any) -> None:
        axes.margins(x=0.1)
        for y, mark in enumerate(marks):
            _line(axes, y, shortened(mark.name, _NAME), mark.figures)
            _closed(axes, y, mark, unit)
        if spread:
            _logarithmic(axes)
        elif unit > 1:
            axes.set_xlim(0, 1.1 * axes.get_xlim()[1])
        else:
            show_percent(axes.xaxis)
        for y, mark in enumerate(marks):
            _open(axes, y, mark, unit)
        axes.set_xlabel(f"{title} (logarithmic)" if spread else title)

    says = f"{title}: {'; '.join(f'{mark.name} {mark.figures}' for mark in marks)}"
    return draw_svg(name, says, draw, 0.7 + 0.4 * len(marks))


def _line(axes: Any, y: int, name: str, figures: str) -> None:
    """Name and figures above what is drawn at y; the axis runs downwards."""
    across = axes.get_yaxis_transform()
    axes.text(0, y - 0.25, name, transform=across, va="bottom")
    axes.text(1, y - 0.25, figures, transform=across, ha="right", va="bottom")
    axes.set(yticks=[], ylim=(y + 0.5, -0.8))
    axes.spines.left.set_visible(False)


def _closed(axes: Any, y: int, mark: Mark, unit: float) -> None:
    """The dot, and the line to each end that there is."""
    if mark.value is None:
        return
    axes.plot([unit * mark.value], [y], "o", color=mark.colour)
    for end in (mark.low, mark.high):
        if end is not None:
            axes.plot([unit * mark.value, unit * end], [y, y], color=mark.colour)
            axes.plot([unit * end], [y], "|", color=mark.colour)


def _open(axes: Any, y: int, mark: Mark, unit: float) -> None:
    """An arrow to the edge of the finished axis for each end that the data can't bound."""
    for end, edge in ((mark.low, 0), (mark.high, 1)):
        if mark.value is not None and end is None:
            axes.annotate(
                "",
                (edge, y),
                (unit * mark.value, y),
                xycoords=axes.get_yaxis_transform(),
                textcoords="data",
                arrowprops={
                    "arrowstyle": "->",
                    "color": mark.colour,
                    "linewidth": 1.5,
                    "shrinkA": 0,
                    "shrinkB": 0,
                },
            )


def _logarithmic(axes: Any) -> None:
    ticker = need("matplotlib.ticker")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 3)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())


def pairs(a: str, b: str, both: int, only_a: int, only_b: int, neither: int) -> str:
    """Texts that two models judged, by which of them was right.

    Args:
        a, b: names of the models.
        both, only_a, only_b, neither: numbers of texts.
    """
    counts = [
        ("both right", both, MUTED),
        (f"only {shortened(a, _NAME)} right", only_a, SERIES[0]),
        (f"only {shortened(b, _NAME)} right", only_b, SERIES[1]),
        ("neither right", neither, MUTED),
    ]

    def draw(axes: Any) -> None:
        for y, (label, count, colour) in enumerate(counts):
            _line(axes, y, label, f"{count:,}")
            axes.barh(y, count, height=0.3, color=colour)
        axes.set_xlabel("texts with a truth")
        axes.xaxis.set_major_locator(need("matplotlib.ticker").MaxNLocator(5, integer=True))

    says = ", ".join(f"{label} {count:,}" for label, count, _ in counts)
    return draw_svg("pairs", f"Texts with a truth: {says}", draw, 0.7 + 0.4 * len(counts))


def confusion(name: str, title: str, labels: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Texts by true label (row) and predicted label (column); shades are shares of the row.

    Args:
        name: see `draw_svg`.
        title: whose it is, for those who don't see it.
        labels: names of the k classes.
        counts: (k, k).
    """
    table, k = np.array(counts), len(labels)
    shares = table / np.maximum(1, table.sum(axis=1, keepdims=True))
    few = k <= NUMBERED

    def draw(axes: Any) -> None:
        for row, column in np.ndindex(k, k):
            cell = need("matplotlib.patches").Rectangle(
                (column - 0.5, row - 0.5), 1, 1, color=SERIES[0], linewidth=0,
                alpha=_STRONGEST * shares[row, column] ** 0.5,
            )  # fmt: skip
            axes.add_patch(cell)
            if few:
                text = f"{table[row, column]:,}\n{shares[row, column]:.0%}"
                axes.text(column, row, text, ha="center", va="center")
        names = [shortened(label, 60 // k if few else 16) for label in labels]
        numbered = [f"{label} {i}" for i, label in enumerate(names, 1)]
        shown = range(k) if few else sorted({0, *range(4, k, 5), k - 1} - {k - 2})
        axes.set_xticks(shown, [names[i] if few else str(i + 1) for i in shown])
        axes.set_yticks(range(k), names if few else numbered)
        axes.set(xlim=(-0.5, k - 0.5), ylim=(k - 0.5, -0.5), xlabel="predicted", ylabel="true")

    worst = confused(labels, counts)[:_NAMED]
    mistakes = [f"{n:,} {true} called {called}" for true, called, n, _ in worst]
    rights = [f"{row[i]:,} of {sum(row):,} {labels[i]}" for i, row in enumerate(counts)]
    says = f"{title}: right on {', '.join(rights)}; {', '.join(mistakes) or 'no mistake'}"
    return draw_svg(name, says, draw, 0.7 + max(1.6, (0.55 if few else 0.17) * k))


def confused(
    labels: Sequence[str], counts: Sequence[Sequence[int]]
) -> list[tuple[str, str, int, float]]:
    """Mistakes, the most frequent first: true label, predicted label, texts, share of the true."""
    found = [
        (labels[true], labels[called], n, n / sum(row))
        for true, row in enumerate(counts)
        for called, n in enumerate(row)
        if n and true != called
    ]
    return sorted(found, key=lambda each: -each[2])


def reliability(models: Sequence[tuple[str, Sequence[Bin], str]]) -> str:
    """How often a score is right, by the score; name, bins and colour of each model."""
    filled = [(model, [b for b in bins if b.texts], colour) for model, bins, colour in models]

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=MUTED, linestyle=":", label="well calibrated")
        for model, bins, colour in filled:
            xs, ys = [b.score for b in bins], [b.accuracy for b in bins]
            axes.plot(xs, ys, color=colour, marker="o", label=shortened(model, 40))
        show_percent(axes.xaxis)
        show_percent(axes.yaxis)
        axes.set(xlim=(min((b.low for _, bins, _ in filled for b in bins), default=0), 1.02))
        axes.set(ylim=(-0.03, 1.03), xlabel="mean score of the predicted label", ylabel="right")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))

    says = "; ".join(
        f"{model}: {', '.join(f'{percent(b.accuracy)} right at {percent(b.score)}' for b in bins)}"
        for model, bins, _ in filled
    )
    return draw_svg(
        "reliability", f"Share of right answers by score. {says}", draw, 2.9 + 0.2 * len(models)
    )
