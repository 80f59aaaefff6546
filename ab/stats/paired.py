"""Two models that both judged every text, with a truth for all or for some of them.

A text that both label alike can't move the difference of their accuracies, whatever its truth is.
So truths are needed of the texts on which they disagree only, while n stays all texts.
"""

from __future__ import annotations

import dataclasses
import math

from scipy import stats

from ab.stats.interval import NOTHING, Interval, bounded


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Texts with a truth, by which model was right.

    Attributes:
        both, only_a, only_b, neither: numbers of texts.
    """

    both: int
    only_a: int
    only_b: int
    neither: int

    @property
    def n(self) -> int:
        """Texts with a truth."""
        return self.both + self.only_a + self.only_b + self.neither


def exact_p_value(only_a: int, only_b: int) -> float:
    """McNemar's exact conditional test, two-sided: are both models right equally often?

    Source: McNemar (1947), Psychometrika 12:153-157; exact form as in Fagerland, Lydersen and
    Laake (2013), BMC Medical Research Methodology 13:91.
    """
    n = only_a + only_b
    return float(stats.binomtest(only_b, n).pvalue) if n else 1.0


def paired_difference(
    only_a: int, only_b: int, judged: int, disagreeing: int, n: int, confidence: float = 0.95
) -> Interval:
    """Accuracy of B minus that of A on the same texts.

    With all disagreements judged it is the interval of Bonett and Price (2012), Journal of
    Educational and Behavioral Statistics 37:479-488, as Fagerland, Lydersen and Laake (2014),
    Statistics in Medicine 33:2850-2875 recommend it. With a random part of them it adds the
    variance of that choice (Cochran, 1977, "Sampling Techniques", section 12.2), a continuity
    correction of half a step, and takes quantiles of Student's t.

    Args:
        only_a, only_b: judged texts that only one model got right.
        judged: texts with a truth on which the models disagree.
        disagreeing: texts on which they do, judged or not.
        n: texts that both answered.
        confidence: of the interval.
    """
    if n == 0 or (disagreeing and not judged):
        return NOTHING
    # One text more for each model, as in the source
    a, b, seen, all_seen, texts = only_a + 1, only_b + 1, judged + 2, disagreeing + 2, n + 2
    share, mean, square = all_seen / texts, (b - a) / seen, (a + b) / seen
    chosen = share**2 * (square - mean**2) / (seen - 1) * (1 - seen / all_seen)
    drawn = (share * square - (share * mean) ** 2) / texts
    centre, error = share * mean, math.sqrt(chosen + drawn)
    quantile = float(stats.t.isf((1 - confidence) / 2, seen if seen < all_seen else math.inf))
    reach = quantile * error + (share / seen if seen < all_seen else 0.0)
    value = disagreeing / n * (only_b - only_a) / judged if judged else 0.0
    return bounded(value, centre - reach, centre + reach, least=-1.0)


def fixed_pairs(apart: float, difference: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """Texts that both models judge, which McNemar's test with one look at the end needs.

    Source: Connor (1987), "Sample size for testing differences in proportions for the paired-sample
    design", Biometrics 43:207-211.

    Args:
        apart: part of the texts that only one model gets right.
        difference: of the accuracies.
        power: probability to find it.
        alpha: two-sided false alarm rate.
    """
    spread = math.sqrt(apart - difference**2)
    reach = stats.norm.isf(alpha / 2) * math.sqrt(apart) + stats.norm.isf(1 - power) * spread
    return float((reach / difference) ** 2)
