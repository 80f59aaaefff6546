"""The plots of the report."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from ab import plot
from ab.plot import COLOURS, bar, svg
from ab.report.analysis import Analysis, Comparison, ModelFigures
from ab.stats.interval import Interval

_LINEAR_UP_TO = 5.0


def accuracy(analysis: Analysis) -> str:
    """Accuracy of every model with its interval."""
    return plot.accuracy(
        [
            (model.name, model.accuracy, _colour(analysis, model))
            for model in analysis.models
            if model.accuracy.value is not None
        ]
    )


def sequence(comparison: Comparison, margin: float) -> str:
    """The confidence sequence of a difference, over the answers."""
    looks = [look for look in comparison.sequential.looks if look.low <= look.high]
    n = [look.n for look in looks]
    low, high = [100 * look.low for look in looks], [100 * look.high for look in looks]

    def draw(axes: Axes) -> None:
        axes.axhspan(-100 * margin, 100 * margin, color="#dddddd", label="too small to matter")
        axes.axhline(0, color="grey", linewidth=0.8)
        axes.fill_between(n, low, high, color=COLOURS[0], alpha=0.3, label="fits the data")
        axes.plot(n, low, color=COLOURS[0])
        axes.plot(n, high, color=COLOURS[0])
        if comparison.sequential.decided_at is not None:
            axes.axvline(
                comparison.sequential.decided_at, color=COLOURS[1], linestyle="--", label="decided"
            )
        edge = _readable_edge(low, high)
        axes.set_ylim(-edge, edge)
        axes.set_xlabel("answers with a truth")
        axes.set_ylabel(f"{comparison.b} minus {comparison.a},\npercentage points")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)

    return svg(f"sequence {comparison.b}", draw, height=3.4)


def reliability(analysis: Analysis) -> str:
    """How often a score is right, by the score."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color="grey", linestyle=":", label="well calibrated")
        lowest = 1.0
        for model in analysis.models:
            bins = [each for each in model.reliability if each.texts]
            lowest = min([lowest, *(each.low for each in bins)])
            axes.plot(
                [each.score or 0.0 for each in bins],
                [each.accuracy or 0.0 for each in bins],
                color=_colour(analysis, model),
                marker="o",
                label=model.name,
            )
        axes.set(xlim=(lowest, 1.01), ylim=(-0.02, 1.02))
        axes.set_xlabel("mean score of the predicted label")
        axes.set_ylabel("share of right answers")
        axes.legend(loc="lower right", frameon=False)

    return svg("reliability", draw, height=3.4)


def latency(analysis: Analysis) -> str:
    """Latency percentiles of every model with their intervals."""
    ranks = list(analysis.models[0].latency_s)

    def draw(axes: Axes) -> None:
        width = 0.8 / len(analysis.models)
        for i, model in enumerate(analysis.models):
            for row, rank in enumerate(ranks):
                y = row + (i - (len(analysis.models) - 1) / 2) * width
                bar(axes, _in_millis(model.latency_s[rank]), y, _colour(analysis, model))
            axes.plot([], [], "o", color=_colour(analysis, model), label=model.name)
        axes.set_yticks(range(len(ranks)), [f"p{rank}" for rank in ranks])
        axes.set_ylim(len(ranks) - 0.5, -0.5)
        _scale(
            axes, [1000 * (t.value or 0.0) for m in analysis.models for t in m.latency_s.values()]
        )
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False)

    return svg("latency", draw, height=1.2 + 0.55 * len(ranks))


def confusion(analysis: Analysis, model: ModelFigures) -> str:
    """Confusion of one model; shares are of the true label."""
    counts = np.array(model.confusion)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))

    def draw(axes: Axes) -> None:
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 0.5 else "black"
            text = f"{count:,} ({shares[row, column]:.0%})"
            axes.text(column, row, text, ha="center", va="center", color=colour)
        ticks = range(len(analysis.labels))
        axes.set_xticks(ticks, analysis.labels)
        axes.set_yticks(ticks, analysis.labels, rotation=90, va="center")
        axes.set(title=model.name, xlabel="predicted", ylabel="true")

    side = 1.4 + 0.7 * len(analysis.labels)
    return svg(f"confusion {model.name}", draw, height=side, width=1.5 * side)


def _scale(axes: Axes, millis: Sequence[float]) -> None:
    """From 0, or logarithmic where one model would vanish beside the other."""
    if max(millis) < _LINEAR_UP_TO * max(min(millis), 1e-9):
        axes.set_xlim(left=0)
        axes.set_xlabel("latency in ms, with its 95 % interval")
        return
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("latency in ms (logarithmic), with its 95 % interval")


def _in_millis(interval: Interval) -> Interval:
    def scaled(value: float | None) -> float | None:
        return None if value is None else 1000 * value

    return Interval(scaled(interval.value), scaled(interval.low), scaled(interval.high))


def _readable_edge(low: Sequence[float], high: Sequence[float]) -> float:
    """Half height of the plot: what the later half of the test needs, in whole tens of points."""
    later = [abs(x) for ends in (low, high) for x in ends[len(ends) // 2 :]]
    return min(100.0, 10 * math.ceil(1.2 * max(later, default=100.0) / 10))


def _colour(analysis: Analysis, model: ModelFigures) -> str:
    return COLOURS[analysis.models.index(model) % len(COLOURS)]
