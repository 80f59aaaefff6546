"""Paired answers against published tables."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ab.stats.interval import NOTHING
from ab.stats.paired import Pairs, exact_p_value, paired_difference


@pytest.mark.parametrize(
    ("pairs", "p_value"),
    [
        (Pairs(1, 1, 7, 12), 0.0703),
        (Pairs(59, 6, 16, 80), 0.0525),
        (Pairs(20, 12, 2, 16), 0.0129),
    ],
    ids=["airways", "myeloma", "tubercle bacilli"],
)
def test_exact_p_values_are_the_published_ones(pairs: Pairs, p_value: float) -> None:
    """Fagerland, Lydersen and Laake (2013), BMC Medical Research Methodology 13:91, tables 1 and 2;
    Armitage and Berry (1994), p. 127, with the exact p-value of StatsDirect's manual."""
    assert p_value == pytest.approx(exact_p_value(pairs), abs=5e-5)


def test_the_interval_is_the_published_one() -> None:
    """Fagerland, Lydersen and Laake (2014), Statistics in Medicine 33:2850-2875: Newcombe's
    square-and-add interval for the airways is 0.026 to 0.507 (with the signs turned)."""
    found = paired_difference(Pairs(1, 1, 7, 12))
    assert (found.low, found.high) == pytest.approx((0.026, 0.507), abs=6e-4)


def test_models_that_always_agree_do_not_differ() -> None:
    """No discordant pair is no evidence, and no division by zero."""
    assert 1.0 == exact_p_value(Pairs(10, 0, 0, 3)) == exact_p_value(Pairs(0, 0, 0, 0))
    assert NOTHING == paired_difference(Pairs(0, 0, 0, 0))
    found = paired_difference(Pairs(54, 0, 0, 0))
    assert found.low == pytest.approx(-1 * (found.high or 0))


def test_swapping_the_models_turns_the_sign() -> None:
    """A and B are only names."""
    one, other = paired_difference(Pairs(40, 9, 3, 5)), paired_difference(Pairs(40, 3, 9, 5))
    assert one.low == pytest.approx(-1 * (other.high or 0))
    assert one.value == pytest.approx(-1 * (other.value or 0))


def test_the_exact_test_keeps_its_level() -> None:
    """By enumeration: at p <= 0.05 an exact conditional test errs in at most 5 % for any number
    of discordant pairs."""
    for discordant in (5, 12, 40, 101):
        counts = range(discordant + 1)
        rejected = [exact_p_value(Pairs(9, k, discordant - k, 4)) <= 0.05 for k in counts]
        assert np.sum(stats.binom.pmf(counts, discordant, 0.5) * rejected) <= 0.05


def test_intervals_cover_as_stated() -> None:
    """3,000 simulated samples of 80 pairs: the standard error of the coverage is 0.004."""
    rng = np.random.default_rng(3)
    tables = rng.multinomial(80, [0.75, 0.06, 0.12, 0.07], size=3000).tolist()
    coverage = np.mean([paired_difference(Pairs(*table)).covers(0.06) for table in tables])
    assert 0.95 == pytest.approx(coverage, abs=0.015)
