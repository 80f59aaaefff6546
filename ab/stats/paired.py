"""Two models that both judged every text."""

from __future__ import annotations

import dataclasses
import math

from statsmodels.stats.contingency_tables import mcnemar

from ab.stats.interval import NOTHING, Interval
from ab.stats.proportions import wilson


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Texts by which model was right.

    Attributes:
        both, only_a, only_b, neither: numbers of texts.
    """

    both: int
    only_a: int
    only_b: int
    neither: int

    @property
    def n(self) -> int:
        """Texts that both models judged."""
        return self.both + self.only_a + self.only_b + self.neither


def exact_p_value(pairs: Pairs) -> float:
    """McNemar's exact conditional test, two-sided: are both models right equally often?

    Source: McNemar (1947), Psychometrika 12:153-157; exact form as in Fagerland, Lydersen and
    Laake (2013), BMC Medical Research Methodology 13:91.
    """
    table = [[pairs.both, pairs.only_a], [pairs.only_b, pairs.neither]]
    return min(1.0, float(mcnemar(table, exact=True).pvalue))


def paired_difference(pairs: Pairs, confidence: float = 0.95) -> Interval:
    """Accuracy of B minus that of A on the same texts, with Newcombe's square-and-add interval.

    Source: Newcombe (1998), Statistics in Medicine 17:2635-2650, method 10.
    """
    n = pairs.n
    if n == 0:
        return NOTHING
    a = wilson(pairs.both + pairs.only_a, n, confidence)
    b = wilson(pairs.both + pairs.only_b, n, confidence)
    correlation = _correlation(pairs)
    assert a.value is not None and a.low is not None and a.high is not None
    assert b.value is not None and b.low is not None and b.high is not None
    value = b.value - a.value
    down, up = (b.value - b.low, a.high - a.value), (b.high - b.value, a.value - a.low)
    return Interval(value, value - _added(*down, correlation), value + _added(*up, correlation))


def _added(one: float, other: float, correlation: float) -> float:
    return math.sqrt(max(0.0, one**2 - 2 * correlation * one * other + other**2))


def _correlation(pairs: Pairs) -> float:
    """Newcombe's phi with his correction for a positive association."""
    rows = (pairs.both + pairs.only_a) * (pairs.only_b + pairs.neither)
    columns = (pairs.both + pairs.only_b) * (pairs.only_a + pairs.neither)
    if rows == 0 or columns == 0:
        return 0.0
    excess = float(pairs.both * pairs.neither - pairs.only_a * pairs.only_b)
    if excess > 0:
        excess = max(excess - pairs.n / 2, 0.0)
    return excess / math.sqrt(rows * columns)
