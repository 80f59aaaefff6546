"""Tests of a difference in accuracy that stay valid however often one looks.

For every difference d from B to A there is an e-process: a number that starts at 1 and, if d is
the true difference, is not expected to grow, whatever has happened before. By Ville's inequality
it then ever reaches 1 / alpha with probability alpha at most, at any sample size and after any
number of looks. The differences whose e-process never reached it form a confidence sequence, and so
do the intersections of its intervals so far (Howard, Ramdas, McAuliffe and Sekhon, 2021,
"Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics
49:1055-1080). `ab.stats.e_values` says by what factor each answer changes an e-process.

The predictions are updated after every answer at first, later after every 2 % more answers; they
use the past only, so this changes the speed and not the validity.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from ab.stats import e_values
from ab.stats.e_values import Counts, Flags, Floats, Gains
from ab.stats.interval import Interval

ALPHA = 0.05

_GROWTH = 0.02
_GRID = 0.005
_FINE = 20
_UNITS = 50
_TUNED_FOR = 130.0
"""Units for which the asymptotic sequence is the narrowest are about 8 times as many."""


@dataclasses.dataclass(frozen=True)
class Look:
    """What the sequence says after some answers.

    Attributes:
        n: answers, or pairs.
        low: lower end of the confidence sequence.
        high: upper end. Below `low` when no difference fits: it changed during the test.
    """

    n: int
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Sequential:
    """A sequential test and its confidence sequence.

    Attributes:
        looks: one after every update of the predictions; the last one is now.
        p_value: always valid; of "no difference".
        e_value: largest one so far against "no difference".
        decided_at: answers after which "no difference" was rejected; None if it was not.
        alpha: false alarm rate over all looks together.
    """

    looks: tuple[Look, ...]
    p_value: float
    e_value: float
    decided_at: int | None
    alpha: float

    @property
    def now(self) -> Look:
        """The last look."""
        return self.looks[-1] if self.looks else Look(0, -1.0, 1.0)

    @property
    def contradicts(self) -> bool:
        """Whether no single difference fits the data."""
        return self.now.low > self.now.high

    def estimate(self, observed: float | None) -> Interval:
        """The interval now, around the observed difference, or around the nearest one inside.

        The interval is what all looks together allow, so that the answers by now may point out of
        it. If it holds the true difference, the nearest one inside is the closer to that of both.

        Args:
            observed: difference of the accuracies; None when there is none.

        Returns:
            No bounds where no difference fits.
        """
        low, high = self.now.low, self.now.high
        if observed is None or self.contradicts:
            return Interval(observed, None, None)
        return Interval(min(max(observed, low), high), low, high)


def block_ends(n: int, start: int = 0) -> list[int]:
    """Sample sizes after which the predictions are updated, from `start` (not included) to `n`."""
    ends, end = [], 0
    while end < n:
        end = min(n, max(end + 1, int(end * (1 + _GROWTH))))
        if end > start:
            ends.append(end)
    return ends


def independent(
    from_b: Sequence[bool], right: Sequence[bool], share_b: float, alpha: float = ALPHA
) -> Sequential:
    """Test answers that came from either model.

    Args:
        from_b: whether each answer came from B, in the order in which the requests were sent.
        right: whether it was right.
        share_b: declared share of B's traffic.
        alpha: false alarm rate over all looks together.
    """
    return _test(
        e_values.independent_kinds(from_b, right), 4, e_values.independent_gains(share_b), alpha
    )


def paired(only_a: Sequence[bool], only_b: Sequence[bool], alpha: float = ALPHA) -> Sequential:
    """Test texts that both models judged.

    Args:
        only_a, only_b: whether only this model was right on each text, in the order of sending.
        alpha: false alarm rate over all looks together.
    """
    return _test(e_values.paired_kinds(only_a, only_b), 3, e_values.paired_gains, alpha)


def clustered(
    from_b: Flags, right: Flags, weights: npt.ArrayLike, units: Sequence[str], alpha: float = ALPHA
) -> Sequential:
    """Test answers that are weighted, or of which several belong to one unit, such as a user.

    An asymptotic confidence sequence around the difference of the weighted accuracies, with the
    standard error that is robust to clusters: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas
    (2024), "Time-uniform central limit theory and asymptotic confidence sequences", Annals of
    Statistics 52:2613-2640, theorem 2.2. It says nothing before `_UNITS` units of each model.

    Args:
        from_b, right, alpha: as for `independent`.
        weights: of each answer, 1 / the probability with which its truth was sought.
        units: what was drawn as one: a request, or a user.
    """
    b, y, w = np.asarray(from_b, bool), np.asarray(right, float), np.asarray(weights, float)
    codes = np.unique(np.asarray(units, str), return_inverse=True)[1]
    looks, best = [Look(0, -1.0, 1.0)], 0.0
    decided_at = None
    for end in block_ends(len(y)):
        found = _robust_difference(b[:end], y[:end], w[:end], codes[:end])
        if found is None:
            continue
        value, variance, n = found
        mix = n / _TUNED_FOR
        reach = math.sqrt(variance * (mix + 1) / mix * (math.log(mix + 1) - 2 * math.log(alpha)))
        low, high = max(looks[-1].low, value - reach), min(looks[-1].high, value + reach)
        looks.append(Look(end, low, high))
        log_e = value**2 / variance * mix / (mix + 1) / 2 - math.log(mix + 1) / 2
        best = max(best, log_e)
        if decided_at is None and log_e >= -math.log(alpha):
            decided_at = end
    looks[-1] = dataclasses.replace(looks[-1], n=len(y))
    e_value = math.exp(min(best, 700.0))
    return Sequential(tuple(looks), 1 / e_value, e_value, decided_at, alpha)


def of_answers(
    answers: pd.DataFrame, b: str, share_b: float, alpha: float, column: str = "right"
) -> Sequential:
    """Test the difference of a yes-or-no column between B and A, for answers of any design.

    Args:
        answers: of A and B in the order of sending, see `ab.observations.table`.
        b: name of B.
        share_b: of the traffic of both.
        alpha: false alarm rate over all looks.
        column: what is counted.
    """
    from_b, flags = (answers.model == b).tolist(), answers[column].astype(bool).tolist()
    if answers.rate.nunique() > 1 or answers.unit.duplicated().any():
        return clustered(from_b, flags, 1 / answers.rate, list(answers.unit), alpha)
    return independent(from_b, flags, share_b, alpha)


def _robust_difference(
    b: npt.NDArray[np.bool_], right: Floats, weights: Floats, codes: Counts
) -> tuple[float, float, int] | None:
    """Weighted accuracy of B minus A, its variance, and the number of units; None of too few."""
    units = [len(np.unique(codes[side])) for side in (~b, b)]
    if min(units) < _UNITS:
        return None
    totals = [weights[side].sum() for side in (~b, b)]
    means = [np.average(right[side], weights=weights[side]) for side in (~b, b)]
    influence = weights * np.where(
        b, (right - means[1]) / totals[1], (means[0] - right) / totals[0]
    )
    variance = float(np.sum(np.bincount(codes, influence) ** 2)) * sum(units) / (sum(units) - 2)
    return float(means[1] - means[0]), max(variance, 1e-12), sum(units)


@dataclasses.dataclass(frozen=True)
class Evidence:
    """The e-processes of several differences (columns).

    Attributes:
        largest: largest log e so far, at the end of every block (rows).
        log_e: after the last answer.
    """

    largest: Floats
    log_e: Floats


def follow(kinds: Counts, n_kinds: int, gains: Gains, differences: Floats) -> Evidence:
    """Run the e-processes from answer to answer, so that a rejection is never forgotten.

    Args:
        kinds: of each answer, 0 to `n_kinds` - 1.
        n_kinds: how many kinds there are.
        gains: of an answer of each kind.
        differences: one process each.
    """
    ends = block_ends(len(kinds))
    starts = [0, *ends[:-1]]
    totals = np.cumsum(np.eye(n_kinds, dtype=np.int64)[kinds], axis=0)
    before = np.vstack([np.zeros((1, n_kinds), np.int64), totals])[starts]
    gain = gains(before[:, None, :], np.broadcast_to(differences, (len(ends), len(differences))))
    log_e = np.zeros(len(differences))
    largest = np.full((len(ends), len(differences)), -np.inf)
    for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
        path = log_e[:, None] + np.cumsum(gain[row][:, kinds[start:end]], axis=1)
        log_e, largest[row] = path[:, -1], path.max(axis=1)
    return Evidence(np.maximum.accumulate(largest, axis=0), log_e)


def _test(kinds: Counts, n_kinds: int, gains: Gains, alpha: float) -> Sequential:
    if not len(kinds):
        return Sequential((), 1.0, 1.0, None, alpha)

    def largest(differences: Floats) -> Floats:
        return follow(kinds, n_kinds, gains, differences).largest

    ends, limit = block_ends(len(kinds)), -np.log(alpha)
    grid = np.round(np.arange(-1 + _GRID, 1, _GRID), 6)
    looks = [_hull(n, grid, row) for n, row in zip(ends, largest(grid) < limit, strict=True)]
    looks[-1] = _refine(largest, looks[-1], limit)
    null = largest(np.zeros(1))[:, 0]
    crossed = np.flatnonzero(null >= limit)
    best = float(np.exp(np.clip(null[-1], 0.0, 700.0)))
    decided_at = ends[crossed[0]] if len(crossed) else None
    return Sequential(tuple(looks), 1 / best, best, decided_at, alpha)


def _hull(n: int, grid: Floats, alive: npt.NDArray[np.bool_]) -> Look:
    """Ends are the next rejected points outside, so the interval is never too short."""
    indices = np.flatnonzero(alive)
    if not len(indices):
        return Look(n, 1.0, -1.0)
    return Look(
        n, float(max(-1.0, grid[indices[0]] - _GRID)), float(min(1.0, grid[indices[-1]] + _GRID))
    )


def _refine(largest: Callable[[Floats], Floats], look: Look, limit: float) -> Look:
    """Move the ends of the last look inwards on a finer grid."""
    if look.low > look.high:
        return look
    inwards = np.linspace(0, _GRID, _FINE + 1)
    points = np.concatenate([look.low + inwards, look.high - inwards])
    alive = largest(np.clip(points, -1 + 1e-6, 1 - 1e-6))[-1] < limit
    low, high = (max(0, int(np.argmax(side)) - 1) for side in np.split(alive, 2))
    return Look(look.n, look.low + float(inwards[low]), look.high - float(inwards[high]))
