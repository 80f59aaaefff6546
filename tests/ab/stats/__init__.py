"""The statistics against published examples, exact enumeration and simulation."""

from ab.stats.interval import Interval


def covers(found: Interval, truth: float) -> bool:
    """Whether `truth` lies in the interval; an end that is None is no bound."""
    above = found.low is None or found.low <= truth
    return above and (found.high is None or truth <= found.high)
