"""Whether the mean of bounded values exceeds a limit; valid however often one looks.

The e-value of a value x is 1 + b (x - limit), a bet b >= 0 chosen from the values before. Source:
Waudby-Smith and Ramdas (2024), "Estimating means of bounded random variables by betting", JRSS B
86:1-27, section B.3 (aGRAPA).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_PRIOR = 10.0
"""Pseudo-values at the limit: the first bets are small."""
_BOLDEST = 0.5
"""Largest part of the stake that one value can lose."""


def largest_log_e(values: npt.ArrayLike, limit: float) -> float:
    """Largest log e so far against "the mean is at most the limit".

    Args:
        values: (n,) in 0..1, in the order of sending.
        limit: in 0..1.
    """
    x = np.asarray(values, float)
    n = np.arange(len(x)) + _PRIOR
    mean = (_PRIOR * limit + np.cumsum(x) - x) / n
    variance = (_PRIOR * limit * (1 - limit) + np.cumsum((x - mean) ** 2) - (x - mean) ** 2) / n
    excess = mean - limit
    fraction = excess / np.maximum(variance + excess**2, 1e-12)
    bets = np.clip(fraction, 0.0, _BOLDEST / max(limit, 1e-12))
    return float(np.max(np.cumsum(np.log1p(bets * (x - limit))), initial=0.0))
