"""The sequential test: never more false alarms than stated, however often one looks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ab.stats.e_values import (
    Counts,
    Gains,
    independent_gains,
    independent_kinds,
    paired_gains,
    paired_kinds,
)
from ab.stats.sequential import block_ends, follow, independent, paired

EXPERIMENTS, ANSWERS, LOOK_EVERY = 2000, 3000, 100
LIMIT = -np.log(0.05)
COUNTS = st.lists(st.integers(0, 400), min_size=4, max_size=4)
DIFFERENCES = st.floats(-0.9, 0.9)


def crossings(kinds: Counts, gains: Gains, difference: float) -> int:
    """Experiments (rows) in which a test of `difference` ever raises the alarm.

    The same steps as `follow`, for all experiments at once; a few are compared with it.
    """
    n_kinds = int(kinds.max()) + 1
    before = np.zeros((len(kinds), n_kinds), np.int64)
    log_e, largest, start = np.zeros(len(kinds)), np.full(len(kinds), -np.inf), 0
    for end in block_ends(kinds.shape[1]):
        block = kinds[:, start:end]
        gain = gains(before, np.full(len(kinds), difference))
        path = log_e[:, None] + np.cumsum(np.take_along_axis(gain, block, axis=1), axis=1)
        log_e, largest = path[:, -1], np.maximum(largest, path.max(axis=1))
        before = before + np.stack([np.sum(block == k, axis=1) for k in range(n_kinds)], axis=1)
        start = end
    for row in range(5):
        alone = follow(kinds[row], n_kinds, gains, np.array([difference]))
        assert alone.largest[-1, 0] == pytest.approx(largest[row])
    return int(np.sum(largest >= LIMIT))


def independent_experiments(accuracies: tuple[float, float], share_b: float, seed: int) -> Counts:
    """Kinds of the answers of two models, an experiment a row."""
    rng = np.random.default_rng(seed)
    from_b = rng.random((EXPERIMENTS, ANSWERS)) < share_b
    right = rng.random((EXPERIMENTS, ANSWERS)) < np.where(from_b, accuracies[1], accuracies[0])
    return independent_kinds(from_b, right)


def naive_alarms(kinds: Counts) -> int:
    """Experiments in which the ordinary z-test is below 0.05 at a look after any 100 answers."""
    looks = np.eye(4, dtype=np.int32)[kinds].cumsum(axis=1)[:, LOOK_EVERY - 1 :: LOOK_EVERY]
    right_a, wrong_a, right_b, wrong_b = (looks[..., i].astype(float) for i in range(4))
    n_a, n_b = right_a + wrong_a, right_b + wrong_b
    pooled = (right_a + right_b) / (n_a + n_b)
    error = np.sqrt(pooled * (1 - pooled) * (1 / n_a + 1 / n_b))
    z = np.divide(right_b / n_b - right_a / n_a, error, out=np.zeros_like(error), where=error > 0)
    return int(np.any(np.abs(z) > stats.norm.isf(0.025), axis=1).sum())


@pytest.mark.parametrize(
    ("accuracy", "share_b", "seed"), [(0.85, 0.5, 1), (0.97, 0.3, 2)], ids=["even", "uneven"]
)
def test_no_difference_raises_few_false_alarms(accuracy: float, share_b: float, seed: int) -> None:
    """2,000 experiments without a difference: at most 5 % alarm although the test is looked at
    after every single answer, so after every 100 too; the ordinary test alarms far more often."""
    kinds = independent_experiments((accuracy, accuracy), share_b, seed)
    assert crossings(kinds, independent_gains(share_b), 0.0) <= 0.05 * EXPERIMENTS
    assert naive_alarms(kinds) > 0.2 * EXPERIMENTS


def test_the_confidence_sequence_covers_a_true_difference() -> None:
    """2,000 experiments with a difference of 0.08: in at most 5 % it is ever left out."""
    kinds = independent_experiments((0.8, 0.88), 0.5, 3)
    assert crossings(kinds, independent_gains(0.5), 0.08) <= 0.05 * EXPERIMENTS


def test_a_real_difference_is_found() -> None:
    """A test that never alarms would pass the others: 0.08 is found in most of 200 experiments."""
    kinds = independent_experiments((0.8, 0.88), 0.5, 4)[:200]
    assert crossings(kinds, independent_gains(0.5), 0.0) > 150


def test_pairs_without_a_difference_raise_few_false_alarms() -> None:
    """2,000 paired experiments, a fifth of the pairs discordant."""
    rng = np.random.default_rng(5)
    kinds = rng.choice(3, p=[0.1, 0.8, 0.1], size=(EXPERIMENTS, 1500))
    assert crossings(kinds, paired_gains, 0.0) <= 0.05 * EXPERIMENTS
    shifted = rng.choice(3, p=[0.05, 0.8, 0.15], size=(200, 1500))
    assert crossings(shifted, paired_gains, 0.0) > 150


@given(COUNTS, DIFFERENCES, st.floats(0.05, 0.95), st.floats(0.001, 0.999))
def test_no_difference_can_be_expected_to_gain(
    before: list[int], difference: float, share_b: float, place: float
) -> None:
    """The proof behind the simulations: under any two accuracies with this difference the next
    answer multiplies the e-value by at most 1 on average, whatever was seen before."""
    lowest, highest = max(0.0, -difference), min(1.0, 1.0 - difference)
    a = lowest + place * (highest - lowest)
    b = a + difference
    factor = np.exp(independent_gains(share_b)(np.array(before), np.array(difference)))
    chances = [(1 - share_b) * a, (1 - share_b) * (1 - a), share_b * b, share_b * (1 - b)]
    assert float(np.dot(chances, factor)) <= 1 + 1e-6


@given(COUNTS, DIFFERENCES, st.floats(0, 1))
def test_pairs_gain_nothing_on_average(before: list[int], difference: float, place: float) -> None:
    """The paired bet is fair under every distribution with this mean."""
    least = abs(difference)
    discordant = least + place * (1 - least)
    chances = [(discordant - difference) / 2, 1 - discordant, (discordant + difference) / 2]
    factor = np.exp(paired_gains(np.array(before[:3]), np.array(difference)))
    assert 1.0 == pytest.approx(float(np.dot(chances, factor)))


def test_the_interval_holds_every_difference_that_is_not_rejected() -> None:
    """Its ends are searched on a grid, which must err to the outside."""
    rng = np.random.default_rng(6)
    from_b = rng.random(1500) < 0.5
    right = rng.random(1500) < np.where(from_b, 0.9, 0.7)
    now = independent(from_b.tolist(), right.tolist(), 0.5).now
    differences = np.linspace(-0.99, 0.99, 1999)
    kinds = independent_kinds(from_b.tolist(), right.tolist())
    alive = follow(kinds, 4, independent_gains(0.5), differences).largest[-1] < LIMIT
    assert now.low <= differences[alive].min()
    assert differences[alive].max() <= now.high
    assert now.high - now.low < np.ptp(differences[alive]) + 0.003


def test_a_verdict_is_not_taken_back() -> None:
    """Once rejected stays rejected: later answers can only narrow the interval."""
    rng = np.random.default_rng(7)
    only_b = rng.random(800) < 0.3
    only_a = ~only_b & (rng.random(800) < 0.1)
    test = paired(only_a.tolist(), only_b.tolist())
    assert test.decided_at is not None
    lows, highs = [look.low for look in test.looks], [look.high for look in test.looks]
    assert sorted(lows) == lows
    assert sorted(highs, reverse=True) == highs
    assert test.p_value < 0.05
    assert test.now.low > 0


def test_an_empty_test_knows_nothing() -> None:
    """Before the first answer every difference is possible."""
    test = independent([], [], 0.5)
    assert (-1.0, 1.0, 1.0, None) == (test.now.low, test.now.high, test.p_value, test.decided_at)


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_blocks_end_where_the_answers_end(n: int, start: int) -> None:
    """Updates must not skip or repeat an answer, nor depend on how long the record grows."""
    ends = block_ends(n)
    assert ends == sorted(set(ends))
    assert (ends[-1] if ends else 0) == n
    longer = block_ends(n + 500)
    assert set(ends[:-1]) <= set(longer)
    assert [end for end in ends if end > start] == block_ends(n, start)


def test_kinds_are_as_documented() -> None:
    """Both tests index their gains by them."""
    assert [0, 1, 2, 3] == independent_kinds(
        [False, False, True, True], [True, False, True, False]
    ).tolist()
    assert [0, 1, 2] == paired_kinds([True, False, False], [False, False, True]).tolist()
