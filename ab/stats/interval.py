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

    def covers(self, truth: float) -> bool:
        """Whether `truth` lies in the interval; an end that is None is no bound."""
        above = self.low is None or self.low <= truth
        return above and (self.high is None or truth <= self.high)


NOTHING = Interval(None, None, None)
