"""How far an answer may depend on what it is computed together with."""

from __future__ import annotations

_FLOAT = 1e-5
_EIGHT_BITS = 1e-3


def batch_tolerance(precision: str) -> float:
    """Largest difference of a logit, batched and alone, that rounding may cause.

    Sums of another order differ by 1e-7. In eight bits that now and then moves an activation over
    the edge between two of its 256 steps, and the next layers carry it on.

    Args:
        precision: as the manifest says.
    """
    return _EIGHT_BITS if precision == "int8" else _FLOAT
