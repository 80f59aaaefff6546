"""How good predictions are, and whether two models differ by more than chance."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from roberta_sentiment.classifier import Probabilities
from roberta_sentiment.tools.evaluate.extras import need

BINS = 15
"""Of the calibration error, as in Guo et al., On Calibration of Modern Neural Networks, 2017."""
LEVEL = 0.95
"""Of the confidence intervals."""


@dataclasses.dataclass(frozen=True)
class ClassQuality:
    """Quality of one class; 0 where a ratio has no denominator."""

    precision: float
    recall: float
    f1: float
    texts: int


@dataclasses.dataclass(frozen=True)
class Bin:
    """Texts whose score lies in (low, high].

    Attributes:
        texts: their number.
        score: mean score of the predicted label; 0 without texts.
        accuracy: part of them that is right; 0 without texts.
    """

    low: float
    high: float
    texts: int
    score: float
    accuracy: float


@dataclasses.dataclass(frozen=True)
class Quality:
    """Quality of n predictions of k classes; parts are of 1.

    Attributes:
        texts: n.
        accuracy: part that is right.
        accuracy_interval: Wilson's 95 % interval of it.
        mcc: Matthews' correlation coefficient, -1 to 1.
        f1_macro: mean F1 of the classes.
        calibration_error: expected difference of score and accuracy over `BINS` equal bins.
        brier: mean squared error of the probabilities; 0 to 1 for two classes, else 0 to 2.
        confusion: (k, k) numbers of texts, a row for each true class, a column for each predicted.
        classes: k classes.
        bins: of the calibration error.
    """

    texts: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    mcc: float
    f1_macro: float
    calibration_error: float
    brier: float
    confusion: tuple[tuple[int, ...], ...]
    classes: tuple[ClassQuality, ...]
    bins: tuple[Bin, ...]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two models on the same n texts.

    Attributes:
        both_right, only_first, only_second, both_wrong: numbers of texts by who is right.
        p_value: of McNemar's exact test that both are right equally often; two-sided.
        flips: positions of the texts with another label.
        largest_difference: of a probability.
    """

    both_right: int
    only_first: int
    only_second: int
    both_wrong: int
    p_value: float
    flips: tuple[int, ...]
    largest_difference: float


def quality(truth: Sequence[int], probabilities: Probabilities) -> Quality:
    """Judge predictions.

    Args:
        truth: (n,) indices of classes, n at least 1.
        probabilities: (n, k) float64, each row sums to 1.

    Raises:
        StartError: scikit-learn or statsmodels is not installed.
    """
    metrics, proportion = need("sklearn.metrics"), need("statsmodels.stats.proportion")
    true, best = np.asarray(truth, dtype=np.int64), probabilities.argmax(axis=1)
    labels = list(range(probabilities.shape[1]))
    right = int((best == true).sum())
    low, high = proportion.proportion_confint(right, len(true), 1 - LEVEL, method="wilson")
    each = metrics.precision_recall_fscore_support(true, best, labels=labels, zero_division=0)
    bins = reliability(true, probabilities)
    with warnings.catch_warnings(action="ignore"):  # of a single class, where it is 0
        mcc = float(metrics.matthews_corrcoef(true, best))
    return Quality(
        texts=len(true),
        accuracy=float(metrics.accuracy_score(true, best)),
        accuracy_interval=(float(low), float(high)),
        mcc=mcc,
        f1_macro=float(np.mean(each[2])),
        calibration_error=sum(b.texts * abs(b.score - b.accuracy) for b in bins) / len(true),
        brier=float(metrics.brier_score_loss(true, probabilities, labels=labels)),
        confusion=_whole(metrics.confusion_matrix(true, best, labels=labels)),
        classes=tuple(
            ClassQuality(float(p), float(r), float(f), int(n))
            for p, r, f, n in zip(*each, strict=True)
        ),
        bins=bins,
    )


def reliability(truth: npt.NDArray[np.int64], probabilities: Probabilities) -> tuple[Bin, ...]:
    """Score and accuracy of the predicted labels in `BINS` bins of equal width."""
    scores = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    edges = np.linspace(0, 1, BINS + 1)
    places = np.clip(np.ceil(scores * BINS).astype(np.int64) - 1, 0, BINS - 1)
    bins = []
    for i in range(BINS):
        inside = places == i
        texts = int(inside.sum())
        score = float(scores[inside].mean()) if texts else 0.0
        accuracy = float(right[inside].mean()) if texts else 0.0
        bins.append(Bin(float(edges[i]), float(edges[i + 1]), texts, score, accuracy))
    return tuple(bins)


def compare(truth: Sequence[int], first: Probabilities, second: Probabilities) -> Comparison:
    """Compare two models.

    Args:
        truth: (n,) indices of classes, n at least 1.
        first, second: (n, k) float64 of either model, classes in the same order.

    Raises:
        StartError: statsmodels is not installed.
    """
    tables = need("statsmodels.stats.contingency_tables")
    a, b = (p.argmax(axis=1) == np.asarray(truth) for p in (first, second))
    table = _whole(np.array([[a & b, a & ~b], [~a & b, ~a & ~b]]).sum(axis=2))
    return Comparison(
        both_right=table[0][0],
        only_first=table[0][1],
        only_second=table[1][0],
        both_wrong=table[1][1],
        p_value=float(tables.mcnemar(table, exact=True).pvalue),
        flips=flips(first, second),
        largest_difference=float(np.abs(first - second).max()),
    )


def flips(first: Probabilities, second: Probabilities) -> tuple[int, ...]:
    """Positions of the texts that two models give different labels; (n, k) each."""
    return tuple(np.flatnonzero(first.argmax(axis=1) != second.argmax(axis=1)).tolist())


def _whole(numbers: npt.NDArray[Any]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(n) for n in row) for row in numbers)
