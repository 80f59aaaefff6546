"""How many more samples the sequential test needs, by simulating it onwards from now."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ab.stats import e_values
from ab.stats.e_values import Counts, Floats, Gains
from ab.stats.sequential import ALPHA, follow

EXPERIMENTS = 200
_GROWTH = 0.05
_MAX_FACTOR = 200
_LONGEST = 2_000_000


@dataclasses.dataclass(frozen=True)
class TestPlan:
    """What is decided before anybody looks.

    Attributes:
        margin: smallest difference in accuracy that matters; within it models are equivalent.
        alpha: false alarm rate over all looks and all comparisons together.
        power: probability of a verdict for which further samples are counted.
        guardrails: what B must keep besides; see `ab.report.guardrails`.
        segments: what texts are divided by; see `ab.report.segments`.
        correction: for the number of segments: `holm` or `fdr_bh`.
        unit: tag of the requests whose value is what was drawn as one, such as a user; empty: each
            request was.
        twins: both models are the same one: any difference is a fault of the set-up.
    """

    __test__ = False  # pytest takes a class of this name for tests

    margin: float = 0.01
    alpha: float = ALPHA
    power: float = 0.8
    guardrails: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
    correction: str = "holm"
    unit: str = ""
    twins: bool = False

    def divided(self, comparisons: int) -> tuple[TestPlan, float]:
        """The plan of each comparison for its difference in accuracy, and the false alarm rate of
        its guardrails, which is that of its segments: a tenth each, where there are any."""
        alpha = self.alpha / max(1, comparisons)
        sides = 0.1 * (bool(self.guardrails) + bool(self.segments))
        return dataclasses.replace(self, alpha=alpha * (1 - sides)), alpha * 0.1


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
    kinds = e_values.independent_kinds(from_b, right)
    counts = np.bincount(kinds, minlength=4)
    a, b = e_values.predicted_accuracies(counts)
    shares = np.stack([(1 - share_b) * a, (1 - share_b) * (1 - a), share_b * b, share_b * (1 - b)])
    return _remaining(kinds, shares, e_values.independent_gains(share_b), plan, seed)


def remaining_paired(
    only_a: Sequence[bool], only_b: Sequence[bool], plan: TestPlan, seed: int = 0
) -> int | None:
    """Further texts that a verdict needs when both models judge every text."""
    kinds = e_values.paired_kinds(only_a, only_b)
    shares = e_values.predicted_outcomes(np.bincount(kinds, minlength=3))
    return _remaining(kinds, shares, e_values.paired_gains, plan, seed)


def plan_independent(
    a: float, b: float, share_b: float, plan: TestPlan, seed: int = 0
) -> tuple[int | None, int | None]:
    """Answers of two models of these accuracies after which half of the tests, and the part
    `plan.power` of them, are decided; None where even 2,000,000 hardly suffice."""
    shares = np.array([(1 - share_b) * a, (1 - share_b) * (1 - a), share_b * b, share_b * (1 - b)])
    return _planned(shares, e_values.independent_gains(share_b), plan, seed)


def plan_paired(
    only_a: float, only_b: float, plan: TestPlan, seed: int = 0
) -> tuple[int | None, int | None]:
    """The same in texts that both models judge, of which these parts only one gets right."""
    return _planned(
        np.array([only_a, 1 - only_a - only_b, only_b]), e_values.paired_gains, plan, seed
    )


def _planned(
    shares: Floats, gains: Gains, plan: TestPlan, seed: int
) -> tuple[int | None, int | None]:
    nothing = np.zeros(0, np.int64)
    half, most = (
        _remaining(nothing, shares, gains, dataclasses.replace(plan, power=power), seed, _LONGEST)
        for power in (0.5, plan.power)
    )
    return half, most


def _remaining(
    kinds: Counts, shares: Floats, gains: Gains, plan: TestPlan, seed: int, longest: int = 0
) -> int | None:
    if not len(kinds) and not longest:
        return None
    rng = np.random.default_rng(seed)
    limit = -np.log(plan.alpha)
    differences = np.array([0.0, plan.margin, -plan.margin])
    log_e, rejected = np.zeros((EXPERIMENTS, 3)), np.zeros((EXPERIMENTS, 3), bool)
    if len(kinds):
        evidence = follow(kinds, len(shares), gains, differences)
        log_e, rejected = log_e + evidence.log_e, rejected | (evidence.largest[-1] >= limit)
    counts = np.tile(np.bincount(kinds, minlength=len(shares)), (EXPERIMENTS, 1))
    n, end = len(kinds), longest or _MAX_FACTOR * max(len(kinds), 100)
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
