"""Sample ratio mismatch: does the observed split fit the declared one?"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

ALARM = 0.001
"""A p-value below this is a mismatch; a strict level, because the test is looked at often."""

_CONCENTRATION = 100.0


@dataclasses.dataclass(frozen=True)
class Split:
    """Observed against declared shares.

    Attributes:
        observed: answers by model.
        declared: share by model; they sum to 1.
        p_value: of Pearson's chi-square test, for one look; None without answers.
        always_valid_p_value: may be looked at after every answer.
    """

    observed: tuple[int, ...]
    declared: tuple[float, ...]
    p_value: float | None
    always_valid_p_value: float

    @property
    def expected(self) -> list[float]:
        """Answers by model if the shares were exact."""
        return [share * sum(self.observed) for share in self.declared]

    @property
    def mismatch(self) -> bool:
        """Whether the split is not the declared one."""
        return self.p_value is not None and self.p_value < ALARM


def check_split(observed: Sequence[int], declared: Sequence[float]) -> Split:
    """Test the split.

    Sources: Fabijan et al. (2019), "Diagnosing Sample Ratio Mismatch in Online Controlled
    Experiments", KDD '19, for the chi-square test and its strict level. Lindon and Malek (2022),
    "Anytime-Valid Inference for Multinomial Count Data", NeurIPS, for the test that may be looked
    at after every answer: a Dirichlet mixture around the declared shares against them.

    Args:
        observed: answers by model.
        declared: relative shares, in the same order.
    """
    shares = np.asarray(declared, float) / np.sum(declared)
    total = int(np.sum(observed))
    p_value = None
    if total and len(shares) > 1:
        p_value = float(stats.chisquare(observed, shares * total).pvalue)
    return Split(
        tuple(int(count) for count in observed),
        tuple(float(share) for share in shares),
        p_value,
        min(1.0, float(np.exp(-log_e_value(observed, shares)))),
    )


def log_e_value(observed: npt.ArrayLike, shares: Sequence[float]) -> npt.NDArray[np.float64]:
    """Evidence against the declared split so far, as the logarithm of an e-value.

    It falls when the data fit, so the always-valid p-value at one look is conservative.

    Args:
        observed: answers by model (..., k).
        shares: k declared shares.

    Returns:
        Log e (...).
    """
    counts, each = np.asarray(observed, np.int64), np.asarray(shares, float)
    n = counts.sum(axis=-1)
    log_e: npt.NDArray[np.float64] = stats.dirichlet_multinomial.logpmf(
        counts, _CONCENTRATION * each, n
    ) - stats.multinomial.logpmf(counts, n, each)
    return log_e
