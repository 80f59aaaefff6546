"""How high the scores of right and of wrong labels are."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from roberta_sentiment.classifier import Probabilities
from roberta_sentiment.tools.page.plot import SERIES, draw_svg, show_percent
from roberta_sentiment.tools.page.text import percent

BINS = 20


def scores(truth: Sequence[int], probabilities: Probabilities) -> str:
    """Scores of the predicted labels as an `<svg>` element.

    Args:
        truth: (n,) indices of classes.
        probabilities: (n, k) float64.

    Raises:
        StartError: matplotlib is not installed.
    """
    highest = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == np.asarray(truth)
    edges = np.linspace(1 / probabilities.shape[1], 1, BINS + 1)
    counts = [np.histogram(highest[side], edges)[0] for side in (right, ~right)]

    def draw(axes: Any) -> None:
        bottom = np.zeros(BINS)
        for side, name, colour in zip(counts, ("right", "wrong"), SERIES, strict=False):
            axes.stairs(bottom + side, edges, baseline=bottom, fill=True, color=colour, label=name)
            bottom = bottom + side
        show_percent(axes.xaxis)
        axes.set(xlabel="score of the predicted label", ylabel="texts")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)

    parts = [
        f"{percent(low)} to {percent(high)}: {rights} right, {wrongs} wrong"
        for (low, high), rights, wrongs in zip(itertools.pairwise(edges), *counts, strict=True)
        if rights or wrongs
    ]
    return draw_svg("scores", f"Texts by the score of their label. {'; '.join(parts)}", draw, 2.9)
