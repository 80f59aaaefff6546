"""An estimate lies within its interval, whatever the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ab.stats import latency, paired, proportions, sequential
from ab.stats.interval import Interval
from tests.ab.stats import covers

PAIRS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=2, max_size=2)


def holds(found: Interval) -> bool:
    """Whether there is no estimate, or one that the interval covers."""
    return found.value is None or covers(found, found.value)


@given(PAIRS)
def test_of_proportions_and_pairs(counts: Sequence[tuple[int, int]]) -> None:
    """None right, all right and a single answer are where rounding could push it out."""
    (right_a, wrong_a), (right_b, wrong_b) = counts
    n_a, n_b = right_a + wrong_a, right_b + wrong_b
    assert holds(proportions.wilson(right_a, n_a))
    weights = [1.0] * right_a + [7.5] * wrong_a
    assert holds(proportions.weighted([1] * right_a + [0] * wrong_a, weights))
    assert holds(proportions.difference(right_a, n_a, right_b, n_b))
    judged = right_a + wrong_a
    assert holds(paired.paired_difference(right_a, wrong_a, judged, judged + right_b, judged + n_b))


@given(st.lists(st.floats(0.001, 10), max_size=60), st.sampled_from(latency.PERCENTILES))
def test_of_percentiles(seconds: list[float], percent: int) -> None:
    """Of a few answers, too."""
    assert holds(latency.percentile(seconds, percent))


def drifting(seed: int, n: int) -> tuple[list[bool], list[bool]]:
    """Answers of A and B: B leads by 35 points for 600 answers, then by none."""
    rng = np.random.default_rng(seed)
    from_b = rng.random(n) < 0.5
    accuracy = np.where(np.arange(n) < 600, np.where(from_b, 0.95, 0.6), 0.8)
    return from_b.tolist(), (rng.random(n) < accuracy).tolist()


def independent(from_b: list[bool], right: list[bool]) -> sequential.Sequential:
    """The exact test."""
    return sequential.independent(from_b, right, 0.5)


def clustered(from_b: list[bool], right: list[bool]) -> sequential.Sequential:
    """The asymptotic one."""
    return sequential.clustered(
        from_b, right, [1.0] * len(right), [str(i) for i in range(len(right))]
    )


@pytest.mark.parametrize("test", [independent, clustered])
def test_of_a_sequential_test_whose_last_answers_point_elsewhere(
    test: Callable[[list[bool], list[bool]], sequential.Sequential],
) -> None:
    """The nearest difference that all looks allow; none of both ends where none fits."""
    outside = 0
    for seed in range(3):
        for n in (600, 800, 1000, 1100, 1300, 3000):
            from_b, right = drifting(seed, n)
            b = np.array(from_b)
            observed = float(np.mean(np.array(right)[b]) - np.mean(np.array(right)[~b]))
            done = test(from_b, right)
            found = done.estimate(observed)
            assert holds(found)
            assert done.contradicts == (found.low is None)
            outside += found.value != observed
    assert outside
    assert Interval(None, None, None) == done.estimate(None)
