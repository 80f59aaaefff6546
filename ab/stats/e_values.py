"""E-values of one more answer, for a test of a difference in accuracy.

Independent samples. Answer t comes from B with the declared share s, from A otherwise. The e-value
is the probability of what was seen under accuracies predicted from the answers before t, divided by
its probability under the pair of accuracies that differ by d and lie nearest to the predicted pair
(in Kullback-Leibler divergence weighted by the shares). Nothing is asymptotic, and the accuracies
themselves may drift, as long as their difference does not. Sources: Turner, Ly, Gruenwald (2024),
"Generic E-variables for exact sequential k-sample tests that allow for optional stopping", JSPI
230:106116; Turner and Gruenwald (2023), "Exact anytime-valid confidence intervals for contingency
tables and beyond", Statistics and Probability Letters 198:109835.

Paired samples. x is 1 if only B was right, -1 if only A was, else 0. The e-value is 1 + b (x - d),
a bet b on the mean of x, chosen from the texts before by Kelly's rule. Source: Waudby-Smith and
Ramdas (2024), "Estimating means of bounded random variables by betting", JRSS B 86:1-27.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Flags = Sequence[bool] | npt.NDArray[np.bool_]

Gains = Callable[[Counts, Floats], Floats]
"""(counts before (..., c), differences (...)) to what one more answer of each kind adds to log e
(..., c), where c is the number of kinds of answer."""

PRIOR = 50.0
"""Pseudo-answers of each model (or pairs) that pull the predictions towards "no difference".
It decides how fast a verdict comes: best for differences of about 0.03 to 0.1."""

_STEPS = 40


def independent_kinds(from_b: Flags, right: Flags) -> Counts:
    """Kinds of independent answers: A right 0, A wrong 1, B right 2, B wrong 3."""
    return 2 * np.asarray(from_b, np.int64) + ~np.asarray(right, bool)


def paired_kinds(only_a: Flags, only_b: Flags) -> Counts:
    """Kinds of pairs: only A right 0, both or neither 1, only B right 2."""
    return 1 + np.asarray(only_b, np.int64) - np.asarray(only_a, np.int64)


def independent_gains(share_b: float) -> Gains:
    """Gains for `independent_kinds`."""

    def gains(before: Counts, differences: Floats) -> Floats:
        a, b = predicted_accuracies(before)
        null_a = nearest_accuracy(a, b, share_b, differences)
        null_b = null_a + differences
        ratios = [a / null_a, (1 - a) / (1 - null_a), b / null_b, (1 - b) / (1 - null_b)]
        gain: Floats = np.log(np.stack(ratios, axis=-1))
        return gain

    return gains


def predicted_accuracies(before: Counts) -> tuple[Floats, Floats]:
    """Accuracies of A and B expected next: their past, drawn towards what they have in common."""
    right_a, wrong_a, right_b, wrong_b = (before[..., i].astype(float) for i in range(4))
    pooled = (right_a + right_b + 0.5) / (right_a + wrong_a + right_b + wrong_b + 1)
    return (
        (right_a + PRIOR * pooled) / (right_a + wrong_a + PRIOR),
        (right_b + PRIOR * pooled) / (right_b + wrong_b + PRIOR),
    )


def nearest_accuracy(a: Floats, b: Floats, share_b: float, differences: Floats) -> Floats:
    """Accuracy of A in the pair (x, x + difference) that is nearest to (a, b).

    It minimises the divergence, weighted by the shares, which is convex in x.
    """

    def negative_slope(x: Floats) -> Floats:
        y = x + differences
        of_a, of_b = (a - x) / (x * (1 - x)), (b - y) / (y * (1 - y))
        return (1 - share_b) * of_a + share_b * of_b

    return _root(negative_slope, np.maximum(0.0, -differences), np.minimum(1.0, 1.0 - differences))


def paired_gains(before: Counts, differences: Floats) -> Floats:
    """Gains for `paired_kinds`."""
    values = np.stack([-1 - differences, -differences, 1 - differences], axis=-1)
    bet = _kelly_bet(predicted_outcomes(before), values)
    gain: Floats = np.log1p(bet[..., None] * values)
    return gain


def predicted_outcomes(before: Counts) -> Floats:
    """Shares of "only A", "both or neither" and "only B" expected next."""
    n = before.sum(axis=-1).astype(float)
    split = (before[..., 0] + before[..., 2] + 1.0) / (n + 2)
    only_a = (before[..., 0] + PRIOR * split / 2) / (n + PRIOR)
    only_b = (before[..., 2] + PRIOR * split / 2) / (n + PRIOR)
    return np.stack([only_a, 1 - only_a - only_b, only_b], axis=-1)


def _kelly_bet(shares: Floats, values: Floats) -> Floats:
    """The bet that maximises the expected logarithm, which is concave."""

    def slope(bet: Floats) -> Floats:
        total: Floats = np.sum(shares * values / (1 + bet[..., None] * values), axis=-1)
        return total

    return _root(slope, -0.999 / values[..., 2], -0.999 / values[..., 0])


def _root(slope: Callable[[Floats], Floats], low: Floats, high: Floats) -> Floats:
    """Where a falling function is 0, by bisection; element by element."""
    for _ in range(_STEPS):
        middle = (low + high) / 2
        positive = slope(middle) > 0
        low, high = np.where(positive, middle, low), np.where(positive, high, middle)
    root: Floats = (low + high) / 2
    return root
