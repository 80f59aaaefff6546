"""Latency percentiles with distribution-free intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from ab.stats.interval import NOTHING, Interval

PERCENTILES = (50, 90, 95, 99)


def percentiles(seconds: pd.Series) -> dict[int, Interval]:
    """`PERCENTILES` of the times that are known."""
    known = seconds.dropna().astype(float).tolist()
    return {p: percentile(known, p) for p in PERCENTILES}


def percentile(values: Sequence[float], percent: float, confidence: float = 0.95) -> Interval:
    """A percentile with the interval between two order statistics.

    Source: Conover (1999), "Practical Nonparametric Statistics", 3rd edition, section 3.2, as in
    `scipy.stats.quantile_test`. No distribution is assumed.

    Returns:
        An end is None when the sample is too small to bound the percentile on that side.
    """
    if not values:
        return NOTHING
    sample = np.asarray(values, float)
    estimate = float(np.percentile(sample, percent))
    test = stats.quantile_test(sample, q=estimate, p=percent / 100)
    low, high = (
        None if np.isnan(end) else float(end) for end in test.confidence_interval(confidence)
    )
    # Between the last two of a few values, it may lie below the last, which is the lower end
    return Interval(estimate if low is None else max(low, estimate), low, high)
