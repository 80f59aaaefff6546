"""The report as one HTML file without any reference to another, and its plots."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from ab.report import rows
from ab.report.analysis import Analysis, Comparison, ModelFigures
from ab.report.text import with_bounds
from ab.report.totals import totals_rows, warnings
from ab.report.verdict import judge
from ab.stats.interval import Interval, ahead
from roberta_sentiment.tools.page import plot
from roberta_sentiment.tools.page.plot import LINE, MUTED, SERIES, Mark
from roberta_sentiment.tools.page.render import render_page
from roberta_sentiment.tools.page.text import millis, percent

_TOLD_LOOKS = 4


def render(analysis: Analysis, record: Mapping[str, str]) -> str:
    """The report for people.

    Args:
        analysis: of the record.
        record: its `name` and `sha256`.
    """
    margin = analysis.plan.margin
    verdicts = [judge(analysis, comparison) for comparison in analysis.comparisons]
    return render_page(
        Path(__file__).with_name("page.html.jinja"),
        analysis=analysis,
        record=record,
        names=[model.name for model in analysis.models],
        verdicts=verdicts,
        warnings=warnings(analysis),
        comparisons=[
            (
                verdict,
                ahead(each.a, each.b, each.estimate),
                sequence(each, margin, verdict.decided),
                rows.comparison_rows(each, margin, verdict),
            )
            for each, verdict in zip(analysis.comparisons, verdicts, strict=True)
        ],
        model_rows=rows.model_rows(analysis),
        split_rows=rows.split_rows(analysis),
        totals_rows=totals_rows(analysis),
        pictures=_pictures(analysis),
    )


def _pictures(analysis: Analysis) -> dict[str, Any]:
    models = coloured(analysis)
    return {
        "accuracy": accuracy((m.name, m.accuracy, colour) for m, colour in models),
        "latency": latency(analysis),
        "reliability": plot.reliability(
            [(m.name, m.quality.bins if m.quality else (), colour) for m, colour in models]
        ),
        "confusion": [
            (
                m.name,
                plot.confusion(f"confusion {m.name}", m.name, analysis.labels, m.quality.confusion),
            )
            for m, _ in models
            if m.quality
        ],
    }


def accuracy(models: Iterable[tuple[str, Interval, str]]) -> str:
    """Accuracy of every model with its interval: name, interval and colour of each."""
    marks = [estimate(name, interval, percent, colour) for name, interval, colour in models]
    return plot.intervals("accuracy", "accuracy, with its 95% interval", marks)


def coloured(analysis: Analysis) -> list[tuple[ModelFigures, str]]:
    """Every model with its colour."""
    return [(m, SERIES[i % len(SERIES)]) for i, m in enumerate(analysis.models)]


def sequence(comparison: Comparison, margin: float, decided: bool) -> str:
    """The confidence sequence of the difference from the leading model's side, over the answers.

    Args:
        comparison: of two models.
        margin: smallest difference that matters.
        decided: whether the verdict names a winner, so that it is told since when.
    """
    *_, sign = ahead(comparison.a, comparison.b, comparison.estimate)
    looks = [
        (look.n, *sorted((100 * sign * look.low, 100 * sign * look.high)))
        for look in comparison.sequential.looks
        if look.low <= look.high
    ]
    since = comparison.sequential.decided_at if decided else None

    def draw(axes: Axes) -> None:
        n, low, high = zip(*looks, strict=True) if looks else ((), (), ())
        axes.axhspan(-100 * margin, 100 * margin, color=LINE, label="too small to matter")
        axes.axhline(0, color=MUTED, linewidth=0.8)
        axes.fill_between(n, low, high, color=SERIES[0], alpha=0.3, label="fits the data")
        axes.plot(n, low, n, high, color=SERIES[0])
        if since is not None:
            axes.axvline(since, color=SERIES[1], linestyle="--", label="decided")
        edge = _readable_edge(low, high)
        axes.set_ylim(-edge, edge)
        axes.set(xlabel="answers with a truth", ylabel="percentage points")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)

    parts = min(_TOLD_LOOKS, len(looks))
    told = [looks[len(looks) * i // parts - 1] for i in range(1, parts + 1)]
    says = [f"after {n:,} answers {low:+.1f} to {high:+.1f} points" for n, low, high in told]
    if since is not None:
        says.append(f"decided after {since:,} answers")
    return plot.draw_svg(f"sequence {comparison.b}", f"Difference: {'; '.join(says)}", draw, 3.4)


def _readable_edge(low: Sequence[float], high: Sequence[float]) -> float:
    """Half height of the plot: what the later half of the test needs, in whole tens of points."""
    later = [abs(x) for ends in (low, high) for x in ends[len(ends) // 2 :]]
    return min(100.0, 10 * math.ceil(1.2 * max(later, default=100.0) / 10))


def latency(analysis: Analysis) -> str:
    """Latency percentiles of every model with their intervals."""
    marks = [
        estimate(f"p{rank} {model.name}", model.latency_s[rank], millis, colour)
        for rank in analysis.models[0].latency_s
        for model, colour in coloured(analysis)
    ]
    return plot.intervals("latency", "latency in ms, with its 95% interval", marks, "seconds")


def estimate(
    name: str, interval: Interval, show: Callable[[float | None], str], colour: str
) -> Mark:
    """A figure as a mark of a plot of intervals."""
    figures = with_bounds(interval, show)
    return Mark(name, figures, interval.value, interval.low, interval.high, colour)
