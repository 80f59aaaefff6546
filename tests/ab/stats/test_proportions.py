"""Proportions against Newcombe's tables, textbooks and exact enumeration."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats

from ab.stats.interval import NOTHING
from ab.stats.proportions import (
    difference,
    difference_p_value,
    fixed_sample_size,
    probability_better,
    wilson,
)
from tests.ab.stats import covers


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_intervals_are_those_of_newcombe(
    right: int, n: int, low: float, high: float
) -> None:
    """Newcombe (1998), Statistics in Medicine 17:857-872, table I, method 3."""
    found = wilson(right, n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("b", "a", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((0, 10), (0, 10), -0.2775, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0000),
        ((10, 10), (0, 10), 0.6075, 1.0000),
    ],
    ids=lambda value: "of".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_differences_are_those_of_newcombe(
    b: tuple[int, int], a: tuple[int, int], low: float, high: float
) -> None:
    """Newcombe (1998), Statistics in Medicine 17:873-890, table II, contrasts (a) to (h), 10."""
    found = difference(*a, *b)
    assert b[0] / b[1] - a[0] / a[1] == pytest.approx(found.value)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_the_p_value_is_that_of_pearsons_chi_square() -> None:
    """Agresti (2007), Introduction to Categorical Data Analysis, 2nd edition, table 2.3: heart
    attacks of 189 of 11,034 on placebo and 104 of 11,037 on aspirin, z = 5.00."""
    found = difference_p_value(189, 11034, 104, 11037)
    assert found is not None
    assert 5.00 == pytest.approx(stats.norm.isf(found / 2), abs=0.005)


def test_nothing_to_compare_gives_nothing() -> None:
    """Before the first truth, and when every answer is right, nothing may divide by zero."""
    assert NOTHING == wilson(0, 0) == difference(1, 2, 0, 0)
    assert difference_p_value(0, 0, 1, 2) is None
    assert 1.0 == difference_p_value(7, 7, 9, 9) == difference_p_value(0, 7, 0, 9)


def test_sample_size_is_that_of_the_textbooks() -> None:
    """R's documentation of power.prop.test: 0.50 against 0.75 with power 0.90 needs 76.7 each."""
    found = fixed_sample_size(0.50, 0.25, power=0.90)
    assert found is not None
    assert 76.7 == pytest.approx(found / 2, abs=0.1)
    assert fixed_sample_size(0.9, 0.0) is None
    assert fixed_sample_size(0.9, 0.2) is None


def test_an_uneven_split_needs_more_answers() -> None:
    """The smaller group decides."""
    even, uneven = (fixed_sample_size(0.8, 0.05, share_b=share) for share in (0.5, 0.1))
    assert even
    assert uneven
    assert uneven > 2 * even


@pytest.mark.parametrize(
    ("right_a", "n_a", "right_b", "n_b"), [(8, 10, 9, 10), (60, 100, 130, 200), (0, 5, 3, 4)]
)
def test_probability_better_is_the_closed_form(
    right_a: int, n_a: int, right_b: int, n_b: int
) -> None:
    """Miller (2015), "Formulas for Bayesian A/B Testing": a sum of beta functions."""
    alpha_a, beta_a = right_a + 1, n_a - right_a + 1
    alpha_b, beta_b = right_b + 1, n_b - right_b + 1
    expected = math.fsum(
        math.exp(
            special.betaln(alpha_a + i, beta_b + beta_a)
            - math.log(beta_b + i)
            - special.betaln(1 + i, beta_b)
            - special.betaln(alpha_a, beta_a)
        )
        for i in range(alpha_b)
    )
    assert expected == pytest.approx(probability_better(right_a, n_a, right_b, n_b), abs=1e-6)


def test_probability_better_by_a_margin_is_what_sampling_gives() -> None:
    """The integral has kinks at the margin; 400,000 draws have a standard error below 0.0008."""
    rng = np.random.default_rng(5)
    a, b = rng.beta(151, 51, 400_000), rng.beta(171, 31, 400_000)
    for margin in (0.0, 0.05, 0.1, 0.2):
        expected = float(np.mean(b > a + margin))
        assert expected == pytest.approx(probability_better(150, 200, 170, 200, margin), abs=0.004)


@pytest.mark.parametrize("n", [30, 200])
def test_wilson_intervals_cover_as_stated(n: int) -> None:
    """Exact coverage over a grid of proportions: 0.95 on average, as Newcombe reports."""
    right = np.arange(n + 1)
    found = [wilson(int(r), n) for r in right]
    truths = np.linspace(0.02, 0.98, 97)
    covered = np.array([[covers(each, p) for each in found] for p in truths])
    coverage = np.sum(covered * stats.binom.pmf(right, n, truths[:, None]), axis=1)
    assert 0.95 == pytest.approx(coverage.mean(), abs=0.01)
    assert coverage.min() > 0.88


@pytest.mark.parametrize(("p_a", "p_b"), [(0.8, 0.85), (0.9, 0.9), (0.6, 0.95)])
def test_differences_cover_as_stated(p_a: float, p_b: float) -> None:
    """Exact coverage with 40 and 60 answers, by enumerating every outcome that can occur."""
    n_a, n_b = 40, 60
    weights = np.outer(
        stats.binom.pmf(range(n_a + 1), n_a, p_a), stats.binom.pmf(range(n_b + 1), n_b, p_b)
    )
    coverage = sum(
        float(weights[a, b]) * covers(difference(a, n_a, b, n_b), p_b - p_a)
        for a, b in np.argwhere(weights > 1e-6).tolist()
    )
    assert 0.95 == pytest.approx(coverage, abs=0.015)
