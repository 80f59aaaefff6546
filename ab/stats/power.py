"""How many more samples the sequential test needs, by simulating it onwards from now."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ab.stats.e_values import (
    Counts,
    Floats,
    Gains,
    independent_gains,
    independent_kinds,
    paired_gains,
    paired_kinds,
    predicted_accuracies,
    predicted_outcomes,
)
from ab.stats.sequential import ALPHA, follow

EXPERIMENTS = 200
_GROWTH = 0.05
_MAX_FACTOR = 200


@dataclasses.dataclass(frozen=True)
class TestPlan:
    """What is decided before anybody looks.

    Attributes:
        margin: smallest difference in accuracy that matters; within it models are equivalent.
        alpha: false alarm rate over all looks and all comparisons together.
        power: probability of a verdict for which further samples are counted.
    """

    __test__ = False  # pytest takes a class of this name for tests

    margin: float = 0.01
    alpha: float = ALPHA
    power: float = 0.8


def remaining_independent(
    from_b: Sequence[bool], right: Sequence[bool], share_b: float, plan: TestPlan, seed: int = 0
) -> int | None:
    """Further answers, of both models together, that a verdict needs.

    The accuracies so far, drawn a little towards each other, are taken for the true ones.

    Args:
        from_b, right, share_b: as for `ab.stats.sequential.independent`.
        plan: what counts as a verdict.
        seed: of the simulation.

    Returns:
        0 when it is decided; None when even 200 times as many hardly suffice.
    """
    kinds = independent_kinds(from_b, right)
    counts = np.bincount(kinds, minlength=4)
    a, b = predicted_accuracies(counts)
    shares = np.stack([(1 - share_b) * a, (1 - share_b) * (1 - a), share_b * b, share_b * (1 - b)])
    return _remaining(kinds, shares, independent_gains(share_b), plan, seed)


def remaining_paired(
    only_a: Sequence[bool], only_b: Sequence[bool], plan: TestPlan, seed: int = 0
) -> int | None:
    """Further texts that a verdict needs when both models judge every text."""
    kinds = paired_kinds(only_a, only_b)
    shares = predicted_outcomes(np.bincount(kinds, minlength=3))
    return _remaining(kinds, shares, paired_gains, plan, seed)


def _remaining(
    kinds: Counts, shares: Floats, gains: Gains, plan: TestPlan, seed: int
) -> int | None:
    if not len(kinds):
        return None
    rng = np.random.default_rng(seed)
    limit = -np.log(plan.alpha)
    differences = np.array([0.0, plan.margin, -plan.margin])
    evidence = follow(kinds, len(shares), gains, differences)
    log_e = np.tile(evidence.log_e, (EXPERIMENTS, 1))
    rejected = np.tile(evidence.largest[-1] >= limit, (EXPERIMENTS, 1))
    counts = np.tile(np.bincount(kinds, minlength=len(shares)), (EXPERIMENTS, 1))
    n, end = len(kinds), _MAX_FACTOR * max(len(kinds), 100)
    while np.mean(_decided(rejected)) < plan.power:
        if n >= end:
            return None
        step = max(1, int(n * _GROWTH))
        block = rng.multinomial(step, shares, size=EXPERIMENTS)
        gain = gains(counts[:, None, :], np.broadcast_to(differences, (EXPERIMENTS, 3)))
        log_e = log_e + np.sum(block[:, None, :] * gain, axis=-1)
        rejected |= log_e >= limit
        counts, n = counts + block, n + step
    return n - len(kinds)


def _decided(rejected: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Whether "no difference" is rejected, or both margins are."""
    decided: npt.NDArray[np.bool_] = rejected[:, 0] | (rejected[:, 1] & rejected[:, 2])
    return decided
