"""How good predictions are, and whether two models differ by more than chance.

The one definition of every figure, for `evaluate` and the A/B tool; docs/models.md states them.
"""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from roberta_sentiment.tools.extras import need

Probabilities = npt.NDArray[np.float64]

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
        score: mean score of the predicted label; None without texts.
        accuracy: part of them that is right; None without texts.
    """

    low: float
    high: float
    texts: int
    score: float | None
    accuracy: float | None


@dataclasses.dataclass(frozen=True)
class Quality:
    """Quality of n predictions of k classes; parts are of 1.

    Attributes:
        texts: n.
        accuracy: part that is right.
        accuracy_interval: Wilson's 95 % interval of it.
        mcc: Matthews' correlation coefficient, -1 to 1; None where all truths or all predictions
            are of one class: it is 0/0 there (scikit-learn gives 0).
        f1_macro: mean F1 of the classes.
        calibration_error: mean over the texts of |accuracy - mean score| of their bin, by the
            score of the predicted label in `BINS` bins of equal width.
        brier: mean over the texts of the squared errors of all probabilities, summed; of two
            classes half of it, which is the squared error of one: 0 to 1, else 0 to 2.
        confusion: (k, k) numbers of texts, a row for each true class, a column for each predicted.
        classes: k classes.
        bins: of the calibration error.
    """

    texts: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    mcc: float | None
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


def quality(
    truth: Sequence[int],
    probabilities: Probabilities,
    predicted: Sequence[int] | None = None,
) -> Quality:
    """Judge predictions.

    Args:
        truth: (n,) indices of classes, n at least 1.
        probabilities: (n, k) float64, each row sums to 1.
        predicted: (n,) indices of classes; by default those with the highest probability.

    Raises:
        StartError: scikit-learn or statsmodels is not installed.
    """
    metrics, proportion = need("sklearn.metrics"), need("statsmodels.stats.proportion")
    true = np.asarray(truth, dtype=np.int64)
    best = probabilities.argmax(axis=1) if predicted is None else np.asarray(predicted)
    labels = list(range(probabilities.shape[1]))
    right = int((best == true).sum())
    low, high = proportion.proportion_confint(right, len(true), 1 - LEVEL, method="wilson")
    each = metrics.precision_recall_fscore_support(true, best, labels=labels, zero_division=0)
    bins = reliability(probabilities.max(axis=1), best == true)
    with warnings.catch_warnings(action="ignore"):  # of a multi-label model, whose rows sum to more
        brier = float(metrics.brier_score_loss(true, probabilities, labels=labels))
    varied = min(len(set(true.tolist())), len(set(best.tolist()))) > 1
    return Quality(
        texts=len(true),
        accuracy=float(metrics.accuracy_score(true, best)),
        accuracy_interval=(float(low), float(high)),
        mcc=float(metrics.matthews_corrcoef(true, best)) if varied else None,
        f1_macro=float(np.mean(each[2])),
        calibration_error=expected_error(bins),
        brier=brier,
        confusion=_whole(metrics.confusion_matrix(true, best, labels=labels)),
        classes=tuple(
            ClassQuality(float(p), float(r), float(f), int(n))
            for p, r, f, n in zip(*each, strict=True)
        ),
        bins=bins,
    )


def reliability(scores: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]) -> tuple[Bin, ...]:
    """Score and accuracy of the predicted labels in `BINS` bins of equal width.

    Args:
        scores: (n,) of the predicted labels, 0 to 1.
        right: (n,) whether they are the true ones.
    """
    edges = np.linspace(0, 1, BINS + 1)
    numbers = np.clip(np.digitize(scores, edges, right=True) - 1, 0, BINS - 1)
    return tuple(
        _bin(float(low), float(high), scores[numbers == i], right[numbers == i])
        for i, (low, high) in enumerate(itertools.pairwise(edges))
    )


def _bin(
    low: float, high: float, scores: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]
) -> Bin:
    if not len(scores):
        return Bin(low, high, 0, None, None)
    return Bin(low, high, len(scores), float(scores.mean()), float(right.mean()))


def expected_error(bins: Sequence[Bin]) -> float:
    """The expected calibration error."""
    gaps = (b.texts * abs((b.score or 0) - (b.accuracy or 0)) for b in bins)
    return sum(gaps) / sum(b.texts for b in bins)


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
