"""An estimate with the interval around it."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Interval:
    """An estimate and its confidence interval.

    Attributes:
        value: the estimate; None when there is nothing to estimate it from.
        low: lower end; None when the data can't bound it at this confidence.
        high: upper end; None likewise.
    """

    value: float | None
    low: float | None
    high: float | None

    def seen_from(self, sign: int) -> Interval:
        """A difference B minus A as it is, or A minus B if the sign is -1."""
        if sign > 0:
            return self
        value, low, high = (
            end if end is None else -end for end in (self.value, self.low, self.high)
        )
        return Interval(value, high, low)


def bounded(value: float, low: float, high: float, least: float = 0.0) -> Interval:
    """An interval of shares, `least` to 1, whose ends no rounding moves beyond the estimate."""
    return Interval(value, max(least, min(low, value)), min(1.0, max(high, value)))


def ahead(a: str, b: str, difference: Interval) -> tuple[str, str, int]:
    """The model that is ahead, the other, and 1 if that is the difference B minus A, else -1."""
    return (a, b, -1) if (difference.value or 0.0) < 0 else (b, a, 1)


NOTHING = Interval(None, None, None)
