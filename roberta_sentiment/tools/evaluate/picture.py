"""One picture: confusion, reliability, scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from roberta_sentiment.classifier import Probabilities
from roberta_sentiment.tools.metrics import Quality
from roberta_sentiment.tools.output import draw_svg

SCORE_BINS = 20
RIGHT, WRONG = "#33658a", "#e07a5f"

_STYLE = {"font.size": 9}


def draw(
    labels: Sequence[str], quality: Quality, truth: Sequence[int], probabilities: Probabilities
) -> str:
    """An `<svg>` element with three panels, the same for the same figures.

    Args:
        labels: names of the k classes.
        quality: of the answers.
        truth: (n,) indices of classes.
        probabilities: (n, k) float64.

    Raises:
        StartError: matplotlib is not installed.
    """

    def panels(figure: Any) -> None:
        confusion, reliability, scores = figure.subplots(1, 3)
        _confusion(confusion, labels, quality)
        _reliability(reliability, quality)
        _scores(scores, truth, probabilities)

    return draw_svg("scores", panels, (11, 3.6), _STYLE)


def _confusion(axes: Any, labels: Sequence[str], quality: Quality) -> None:
    counts = np.array(quality.confusion)
    fractions = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if fractions[row, column] > 0.5 else "black"
        axes.text(column, row, f"{count:,}", ha="center", va="center", color=colour)
    ticks = range(len(labels))
    axes.set_xticks(ticks, labels)
    axes.set_yticks(ticks, labels, rotation=90, va="center")
    axes.set(title="Confusion", xlabel="predicted", ylabel="true")


def _reliability(axes: Any, quality: Quality) -> None:
    bins = [b for b in quality.bins if b.texts]
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":", label="calibrated")
    axes.plot(
        [b.score for b in bins], [b.accuracy for b in bins], color=RIGHT, marker="o", label="model"
    )
    lowest = min(b.low for b in bins)
    axes.set(
        title=f"Reliability (calibration error {quality.calibration_error:.3f})",
        xlabel="mean score of the predicted label",
        ylabel="accuracy",
        xlim=(lowest, 1.01),
        ylim=(-0.02, 1.02),
    )
    axes.legend(loc="lower right")


def _scores(axes: Any, truth: Sequence[int], probabilities: Probabilities) -> None:
    scores = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == np.asarray(truth)
    edges = np.linspace(1 / probabilities.shape[1], 1, SCORE_BINS + 1)
    axes.hist(
        [scores[right], scores[~right]],
        bins=edges,
        stacked=True,
        color=[RIGHT, WRONG],
        label=["right", "wrong"],
    )
    axes.set(title="Scores", xlabel="score of the predicted label", ylabel="texts")
    axes.legend(loc="upper left")
