"""Latency percentiles: what their intervals promise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ab.stats.interval import NOTHING
from ab.stats.latency import percentile
from tests.ab.stats import covers


@pytest.mark.parametrize("percent", [50, 95])
def test_intervals_cover_as_stated(percent: int) -> None:
    """1,000 simulated runs of 200 answers with a heavy tail: 0.95 or more, but for chance."""
    rng = np.random.default_rng(percent)
    truth = float(stats.lognorm.ppf(percent / 100, s=1.0))
    samples = rng.lognormal(size=(1000, 200)).tolist()
    coverage = np.mean([covers(percentile(sample, percent), truth) for sample in samples])
    assert coverage >= 0.94


def test_a_small_sample_does_not_bound_a_high_percentile() -> None:
    """Of 20 answers none needs to lie above the true p99."""
    found = percentile([float(i) for i in range(1, 21)], 99)
    assert found.high is None
    assert found.low is not None


def test_the_median_interval_is_between_known_order_statistics() -> None:
    """The binomial table: of 10 values, the 2nd and 9th hold the median with 97.9 %, the 3rd and
    8th with 89.1 % only."""
    found = percentile([float(i) for i in range(1, 11)], 50)
    assert (5.5, 2.0, 9.0) == (found.value, found.low, found.high)


def test_without_answers_there_is_no_percentile() -> None:
    """A model that never answered has no latency."""
    assert NOTHING == percentile([], 50)
