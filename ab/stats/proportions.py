"""Proportions: one, and the difference of two independent ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats
from statsmodels.stats.proportion import (
    confint_proportions_2indep,
    proportion_confint,
    proportions_ztest,
    samplesize_proportions_2indep_onetail,
)

from ab.stats.interval import NOTHING, Interval, bounded

_QUANTILES = 20_000


def wilson(right: float, n: float, confidence: float = 0.95) -> Interval:
    """A proportion with Wilson's score interval.

    Source: Wilson (1927), JASA 22:209-212; recommended by Newcombe (1998), Statistics in
    Medicine 17:857-872, where it is method 3.
    """
    if n == 0:
        return NOTHING
    low, high = proportion_confint(right, n, alpha=1 - confidence, method="wilson")
    return bounded(right / n, float(low), float(high))


def weighted(right: npt.ArrayLike, weights: npt.ArrayLike, confidence: float = 0.95) -> Interval:
    """A proportion from weighted samples, such as 1 / the probability to be chosen.

    Wilson's interval for the effective sample size of Kish (1965), "Survey Sampling", 11.7.

    Args:
        right: (n,) whether each is right.
        weights: (n,) positive.
    """
    each = np.asarray(weights, float)
    if not len(each):
        return NOTHING
    n = float(each.sum() ** 2 / np.sum(each**2))
    return wilson(n * float(np.average(np.asarray(right, float), weights=each)), n, confidence)


def difference(
    right_a: int, n_a: int, right_b: int, n_b: int, confidence: float = 0.95
) -> Interval:
    """Proportion of B minus that of A with Newcombe's hybrid score interval.

    Source: Newcombe (1998), Statistics in Medicine 17:873-890, method 10.
    """
    if n_a == 0 or n_b == 0:
        return NOTHING
    low, high = confint_proportions_2indep(
        right_b, n_b, right_a, n_a, method="newcomb", compare="diff", alpha=1 - confidence
    )
    return bounded(right_b / n_b - right_a / n_a, float(low), float(high), least=-1.0)


def difference_p_value(right_a: int, n_a: int, right_b: int, n_b: int) -> float | None:
    """Two-sided p-value of "both proportions are equal", for one look at the end.

    The score test with the pooled variance, which is Pearson's chi-square without correction.
    It must not be read again and again while samples come in; see `ab.stats.sequential`.
    """
    if n_a == 0 or n_b == 0:
        return None
    if right_a + right_b in (0, n_a + n_b):
        return 1.0
    return float(proportions_ztest([right_b, right_a], [n_b, n_a])[1])


def probability_better(
    right_a: int, n_a: int, right_b: int, n_b: int, margin: float = 0.0
) -> float:
    """Probability that B's proportion exceeds A's by more than `margin`.

    Posteriors are Beta(right + 1, wrong + 1), from the uniform prior; the mean is taken over
    quantiles of A's.
    """
    a = stats.beta(right_a + 1, n_a - right_a + 1)
    b = stats.beta(right_b + 1, n_b - right_b + 1)
    quantiles = a.ppf((np.arange(_QUANTILES) + 0.5) / _QUANTILES)
    return float(np.mean(b.sf(quantiles + margin)))


def fixed_sample_size(
    base: float, difference: float, share_b: float = 0.5, power: float = 0.8, alpha: float = 0.05
) -> float | None:
    """Answers, of both models together, that a test with one look at the end needs.

    Args:
        base: proportion of A, 0..1.
        difference: of B from A that is to be found, with its sign.
        share_b: of the traffic.
        power: probability to find it.
        alpha: two-sided false alarm rate.

    Returns:
        The number, not rounded; None when there is no such difference or B would leave 0..1.
    """
    if difference == 0 or not 0 < base + difference < 1 or not 0 < base < 1:
        return None
    ratio = (1 - share_b) / share_b
    n_b = samplesize_proportions_2indep_onetail(difference, base, power, ratio=ratio, alpha=alpha)
    return float(n_b) * (1 + ratio)
