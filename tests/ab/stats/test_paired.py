"""Paired answers against published tables, and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ab.stats.interval import NOTHING, Interval
from ab.stats.paired import exact_p_value, paired_difference
from tests.ab.stats import covers


@pytest.mark.parametrize(
    ("only_a", "only_b", "p_value"),
    [(1, 7, 0.0703), (6, 16, 0.0525), (12, 2, 0.0129)],
    ids=["airways", "myeloma", "tubercle bacilli"],
)
def test_exact_p_values_are_the_published_ones(only_a: int, only_b: int, p_value: float) -> None:
    """Fagerland, Lydersen and Laake (2013), BMC Medical Research Methodology 13:91, tables 1 and 2;
    Armitage and Berry (1994), p. 127, with the exact p-value of StatsDirect's manual."""
    assert p_value == pytest.approx(exact_p_value(only_a, only_b), abs=5e-5)


def test_with_all_truths_it_is_the_interval_of_bonett_and_price() -> None:
    """Their formula for the airways, 1 against 7 of 21 pairs: one pair added on either side."""
    b, c, n = 2 / 23, 8 / 23, 23
    reach = stats.norm.isf(0.025) * math.sqrt((b + c - (c - b) ** 2) / n)
    found = paired_difference(1, 7, 8, 8, 21)
    assert 6 / 21 == pytest.approx(found.value)
    assert (c - b - reach, c - b + reach) == pytest.approx((found.low, found.high))


def test_models_that_always_agree_do_not_differ() -> None:
    """No discordant pair is no evidence, and no division by zero."""
    assert 1.0 == exact_p_value(0, 0)
    assert NOTHING == paired_difference(0, 0, 0, 0, 0)
    found = paired_difference(0, 0, 0, 0, 54)
    assert found.low == pytest.approx(-1 * (found.high or 0))


def test_disagreements_without_a_truth_say_nothing() -> None:
    """Two texts of 100 are labelled differently, and nobody has judged either."""
    assert NOTHING == paired_difference(0, 0, 0, 2, 100)


def test_swapping_the_models_turns_the_sign() -> None:
    """A and B are only names."""
    one, other = paired_difference(9, 3, 15, 40, 90), paired_difference(3, 9, 15, 40, 90)
    assert one.low == pytest.approx(-1 * (other.high or 0))
    assert one.value == pytest.approx(-1 * (other.value or 0))


def test_the_exact_test_keeps_its_level() -> None:
    """By enumeration: at p <= 0.05 an exact conditional test errs in at most 5 % for any number
    of discordant pairs."""
    for discordant in (5, 12, 40, 101):
        counts = range(discordant + 1)
        rejected = [exact_p_value(k, discordant - k) <= 0.05 for k in counts]
        assert np.sum(stats.binom.pmf(counts, discordant, 0.5) * rejected) <= 0.05


def test_intervals_cover_as_stated() -> None:
    """3,000 simulated samples of 80 pairs: the standard error of the coverage is 0.004."""
    rng = np.random.default_rng(3)
    tables = rng.multinomial(80, [0.06, 0.12, 0.82], size=3000).tolist()
    found = [paired_difference(a, b, a + b, a + b, 80) for a, b, _ in tables]
    assert 0.95 == pytest.approx(np.mean([covers(each, 0.06) for each in found]), abs=0.015)


@pytest.mark.parametrize("disagreeing", [0.04, 0.08, 0.15])
def test_labelling_disagreements_only_is_enough(disagreeing: float) -> None:
    """10,000 texts, accuracies 0.90 and 0.92, at most 300 labels, 2,000 simulations: the bias is
    below 0.002, the coverage at least 0.95 and most find B better; the labels as n would claim a
    difference of 0.13 to 0.5."""
    rng = np.random.default_rng(1)
    only_b, only_a = (disagreeing + 0.02) / 2, (disagreeing - 0.02) / 2
    found: list[Interval] = []
    for a, b, _ in rng.multinomial(10_000, [only_a, only_b, 1 - disagreeing], size=2000):
        labels = min(300, a + b)
        right_b = int(rng.hypergeometric(b, a, labels))
        found.append(paired_difference(labels - right_b, right_b, labels, int(a + b), 10_000))
    assert abs(np.mean([each.value or 0.0 for each in found]) - 0.02) < 0.002
    assert np.mean([covers(each, 0.02) for each in found]) >= 0.95
    assert np.mean([(each.low or 0.0) > 0 for each in found]) > 0.5


def test_random_labels_find_the_same_with_ten_times_as_many() -> None:
    """The 8 % above: 3,000 texts labelled at random find B better less often than 300 of the
    disagreements do, 3,500 about as often, in 2,000 simulations (0.99)."""
    rng, found = np.random.default_rng(2), {}
    for n in (3000, 3500):
        tables = rng.multinomial(n, [0.03, 0.05, 0.92], size=2000).tolist()
        lows = [paired_difference(a, b, a + b, a + b, n).low or 0.0 for a, b, _ in tables]
        found[n] = np.mean(np.array(lows) > 0)
    assert found[3000] < 0.985
    assert 0.99 == pytest.approx(found[3500], abs=0.01)
