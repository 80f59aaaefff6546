"""Classification quality from truths, predictions and scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

BINS = 10
"""Bins of equal width over the score of the predicted label, 0..1."""


def confusion(
    truths: Sequence[str], predictions: Sequence[str], labels: Sequence[str]
) -> list[list[int]]:
    """Counts by truth (row) and prediction (column), in the order of `labels`."""
    index = {label: i for i, label in enumerate(labels)}
    table = [[0] * len(labels) for _ in labels]
    for truth, prediction in zip(truths, predictions, strict=True):
        table[index[truth]][index[prediction]] += 1
    return table


def matthews(table: Sequence[Sequence[int]]) -> float | None:
    """Matthews correlation of a confusion table with k classes, -1..1.

    Source: Gorodkin (2004), Computational Biology and Chemistry 28:367-374; for two classes it is
    Matthews (1975). None when all truths or all predictions are of one class: it is 0/0 there.
    """
    counts = np.asarray(table, float)
    total, hits = counts.sum(), np.trace(counts)
    truths, predictions = counts.sum(axis=1), counts.sum(axis=0)
    spread = (total**2 - predictions @ predictions) * (total**2 - truths @ truths)
    if spread <= 0:
        return None
    return float((hits * total - truths @ predictions) / np.sqrt(spread))


def macro_f1(table: Sequence[Sequence[int]]) -> float | None:
    """Mean over the classes of F1 = 2 hits / (truths + predictions); an empty class gives 0."""
    scores = class_f1(table)
    return float(np.mean(scores)) if scores else None


def class_f1(table: Sequence[Sequence[int]]) -> list[float]:
    """F1 of each class; empty without answers."""
    counts = np.asarray(table, float)
    if counts.sum() == 0:
        return []
    size = counts.sum(axis=1) + counts.sum(axis=0)
    hits = np.diag(counts)
    return [float(2 * hit / n) if n else 0.0 for hit, n in zip(hits, size, strict=True)]


def brier(scores: Floats, truths: npt.NDArray[np.int_]) -> float | None:
    """Mean over texts of the summed squared error over all classes, 0 (best) to 2.

    Source: Brier (1950), Monthly Weather Review 78:1-3. For two classes it is twice the squared
    error of one of them.

    Args:
        scores: n x k probabilities.
        truths: n class indices.
    """
    if len(truths) == 0:
        return None
    one_hot = np.eye(scores.shape[1])[truths]
    return float(np.mean(np.sum((scores - one_hot) ** 2, axis=1)))


@dataclasses.dataclass(frozen=True)
class Bin:
    """Answers whose score of the predicted label lies in a bin.

    Attributes:
        low: lower end, excluded except 0.
        high: upper end, included.
        n: answers.
        confidence: mean score of the predicted label; None without answers.
        accuracy: share of right answers; None without answers.
    """

    low: float
    high: float
    n: int
    confidence: float | None
    accuracy: float | None


def reliability(confidences: Floats, right: npt.NDArray[np.bool_], bins: int = BINS) -> list[Bin]:
    """Right answers by score, in bins of equal width over 0..1."""
    edges = np.linspace(0, 1, bins + 1)
    places = np.clip(np.digitize(confidences, edges, right=True) - 1, 0, bins - 1)
    return [
        _bin(float(edges[i]), float(edges[i + 1]), confidences[places == i], right[places == i])
        for i in range(bins)
    ]


def calibration_error(bins: Sequence[Bin]) -> float | None:
    """Expected calibration error: mean over answers of |accuracy - confidence| of their bin.

    Source: Naeini, Cooper and Hauskrecht (2015), AAAI; Guo et al. (2017), ICML.
    """
    total = sum(each.n for each in bins)
    if total == 0:
        return None
    gaps = (
        each.n * abs(each.accuracy - each.confidence)
        for each in bins
        if each.accuracy is not None and each.confidence is not None
    )
    return sum(gaps) / total


def _bin(low: float, high: float, confidences: Floats, right: npt.NDArray[np.bool_]) -> Bin:
    n = len(right)
    if n == 0:
        return Bin(low, high, 0, None, None)
    return Bin(low, high, n, float(confidences.mean()), float(right.mean()))
