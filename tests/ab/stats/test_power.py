"""How many more answers a verdict needs."""

from __future__ import annotations

import numpy as np

from ab.stats.e_values import (
    independent_gains,
    independent_kinds,
    predicted_accuracies,
)
from ab.stats.power import TestPlan, remaining_independent, remaining_paired
from ab.stats.sequential import follow


def answers(n: int, accuracies: tuple[float, float], seed: int) -> tuple[list[bool], list[bool]]:
    """Answers in turn, with right ones spread at random."""
    rng = np.random.default_rng(seed)
    from_b = np.arange(n) % 2 == 1
    right = rng.random(n) < np.where(from_b, accuracies[1], accuracies[0])
    return from_b.tolist(), right.tolist()


def test_as_many_as_it_says_bring_a_verdict_with_the_stated_power() -> None:
    """100 continuations with the accuracies seen so far: about 80 % are decided."""
    from_b, right = answers(300, (0.7, 0.8), 1)
    more = remaining_independent(from_b, right, 0.5, TestPlan(0.01))
    assert more
    kinds = independent_kinds(from_b, right)
    a, b = predicted_accuracies(np.bincount(kinds, minlength=4))
    rng = np.random.default_rng(2)
    later_b = rng.random((100, more)) < 0.5
    later = rng.random((100, more)) < np.where(later_b, b, a)
    paths = [
        np.concatenate([kinds, independent_kinds(*each)])
        for each in zip(later_b, later, strict=True)
    ]
    decided = [
        follow(path, 4, independent_gains(0.5), np.zeros(1)).largest[-1, 0] >= -np.log(0.05)
        for path in paths
    ]
    assert 65 <= sum(decided) <= 95


def test_a_decided_test_needs_no_more() -> None:
    """Zero is the sign to stop."""
    from_b, right = answers(600, (0.6, 0.9), 3)
    assert 0 == remaining_independent(from_b, right, 0.5, TestPlan(0.01))


def test_models_too_alike_for_the_margin_get_no_number() -> None:
    """A number beyond any budget would read like a plan."""
    from_b = [i % 2 == 1 for i in range(200)]
    right = [i % 10 > 1 for i in range(200)]
    assert remaining_independent(from_b, right, 0.5, TestPlan(0.002)) is None


def test_a_wide_margin_is_reached_earlier() -> None:
    """Equivalence is a verdict too."""
    from_b = [i % 2 == 1 for i in range(400)]
    right = [i % 10 > 1 for i in range(400)]
    wide, narrow = (
        remaining_independent(from_b, right, 0.5, TestPlan(margin)) for margin in (0.10, 0.05)
    )
    assert wide is not None
    assert narrow is not None
    assert wide < narrow


def test_pairs_need_fewer_answers_than_a_split() -> None:
    """What both models get right or wrong together is no noise any more. Both ways A is right on
    85 % and B on 90 %; in a tenth of the pairs only B is, in a twentieth only A."""
    pairs = remaining_paired(
        [i % 20 == 0 for i in range(200)], [i % 10 == 1 for i in range(200)], TestPlan(0.01)
    )
    from_b = [i % 2 == 1 for i in range(400)]
    right = [i % 40 >= (4 if i % 2 else 6) for i in range(400)]
    split = remaining_independent(from_b, right, 0.5, TestPlan(0.01))
    assert pairs
    assert split
    assert 2 * pairs < split


def test_nothing_sent_gives_no_forecast() -> None:
    """There is nothing to extrapolate from."""
    assert remaining_independent([], [], 0.5, TestPlan(0.01)) is None
