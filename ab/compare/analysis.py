"""The figures of two models on the same texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ab.compare.answers import ModelAnswers
from ab.errors import AnalysisError
from ab.stats import latency, power, proportions, sequential
from ab.stats.interval import NOTHING, Interval
from ab.stats.paired import Pairs, exact_p_value, paired_difference


@dataclasses.dataclass(frozen=True)
class PairedComparison:
    """Two models on the same texts.

    Attributes:
        a, b: names.
        texts: that both models answered; all figures are about these.
        pairs: those with a truth, by which model was right.
        judged_disagreements: texts with a truth that the models label differently.
        accuracy_a, accuracy_b: weighted by the part of the texts with a truth among those that the
            models label alike and among the others; empty where one of both has none.
        difference: accuracy of B minus that of A.
        p_value: McNemar's exact test, for one look.
        sequential: the test that may be looked at again and again.
        needed: further texts until the sequential test is likely to decide; None when too many.
        latency_a, latency_b: percentile to seconds.
        disagreements: texts that the models label differently, truth known or not: `id`, `text`,
            `truth`, labels `a` and `b`, `score_a`, `score_b`.
        warnings: what limits the figures, one sentence each.
        only_one: ids that only one model answered; they count for nothing.
        missing_a, missing_b: of them, how many the model did not answer.
        alpha, margin: as given to `compare`.
    """

    a: str
    b: str
    texts: int
    pairs: Pairs
    judged_disagreements: int
    accuracy_a: Interval
    accuracy_b: Interval
    difference: Interval
    p_value: float
    sequential: sequential.Sequential
    needed: int | None
    latency_a: dict[int, Interval]
    latency_b: dict[int, Interval]
    disagreements: tuple[dict[str, Any], ...]
    warnings: tuple[str, ...]
    only_one: tuple[str, ...]
    missing_a: int
    missing_b: int
    alpha: float
    margin: float


def compare(
    a: ModelAnswers, b: ModelAnswers, texts: Mapping[str, str], alpha: float, margin: float
) -> PairedComparison:
    """Compare two models text by text.

    Args:
        a, b: their answers.
        texts: review by id, for records that hold none.
        alpha: false alarm rate.
        margin: smallest difference that matters.

    Raises:
        AnalysisError: they share no text, or one id means two texts or has two truths.
    """
    shared = share_texts(a, b, texts)
    differs, known = shared.a != shared.b, shared.truth.notna()
    right_a, right_b = shared.a == shared.truth, shared.b == shared.truth
    only_a, only_b = right_a & ~right_b, right_b & ~right_a
    judged = int((known & differs).sum())
    both, neither = right_a & right_b, known & ~right_a & ~right_b
    pairs = Pairs(*(int(each.sum()) for each in (both, only_a, only_b, neither)))
    outcomes = _drawn_alike(differs, known)
    sides = only_a[outcomes].tolist(), only_b[outcomes].tolist()
    return PairedComparison(
        a=a.name,
        b=b.name,
        texts=len(shared),
        pairs=pairs,
        judged_disagreements=judged,
        accuracy_a=_accuracy(right_a, differs, known),
        accuracy_b=_accuracy(right_b, differs, known),
        difference=paired_difference(
            pairs.only_a, pairs.only_b, judged, int(differs.sum()), len(shared), 1 - alpha
        )
        if pairs.n
        else NOTHING,
        p_value=exact_p_value(pairs.only_a, pairs.only_b),
        sequential=sequential.paired(*sides, alpha),
        needed=power.remaining_paired(*sides, power.TestPlan(margin, alpha)),
        latency_a=latency.percentiles(a.answers.latency_s[shared.index]),
        latency_b=latency.percentiles(b.answers.latency_s[shared.index]),
        disagreements=tuple(shared[differs].drop(columns="rate").to_dict("records")),
        warnings=_warnings(shared, differs, known),
        only_one=tuple(sorted({*a.answers.index} ^ {*b.answers.index})),
        missing_a=len(b.answers.index.difference(a.answers.index)),
        missing_b=len(a.answers.index.difference(b.answers.index)),
        alpha=alpha,
        margin=margin,
    )


def share_texts(a: ModelAnswers, b: ModelAnswers, texts: Mapping[str, str]) -> pd.DataFrame:
    """The texts that both models answered, in A's order.

    Returns:
        By id: `id`, `text`, `truth`, labels `a` and `b`, `score_a`, `score_b`, and `rate`, with
        which the truth was sought.

    Raises:
        AnalysisError: they share no text, or one id means two texts or has two truths.
    """
    one = a.answers[a.answers.index.isin(b.answers.index)]
    if one.empty:
        raise AnalysisError(f"no text was answered by both {a.name} and {b.name}")
    other = b.answers.loc[one.index]
    for i in one.id[one.sha256 != other.sha256]:
        raise AnalysisError(f"review {i} is another text for {a.name} than for {b.name}")
    for i in one.id[one.truth.notna() & other.truth.notna() & (one.truth != other.truth)]:
        raise AnalysisError(
            f"review {i} has the truth {one.truth[i]} for {a.name}, {other.truth[i]} for {b.name}"
        )
    given = pd.Series(texts, dtype=object).reindex(one.index)
    shared = {
        "id": one.id,
        "text": one.text.combine_first(other.text).combine_first(given),
        "truth": one.truth.combine_first(other.truth),
        "a": one.predicted,
        "score_a": one.score,
        "b": other.predicted,
        "score_b": other.score,
        "rate": np.minimum(one.rate, other.rate),
    }
    frame = pd.DataFrame(shared)
    return frame.astype({"text": object, "truth": object}).where(frame.notna(), None)


def _drawn_alike(differs: pd.Series, known: pd.Series) -> pd.Series:
    """Texts of which agreements and disagreements have the same chance to be among them.

    An agreement counts without a truth; of as many as disagreements lack one it is left out.
    """
    part = (known & differs).sum() / max(1, differs.sum())
    kept = np.random.default_rng(0).random(len(differs)) < (part if differs.any() else 1.0)
    return known & differs | ~differs & kept if known.any() else known


def _accuracy(right: pd.Series, differs: pd.Series, known: pd.Series) -> Interval:
    weights = np.zeros(len(right))
    for stratum in (differs, ~differs):
        if stratum.any() and not (stratum & known).any():
            return NOTHING
        weights[stratum & known] = stratum.sum() / max(1, (stratum & known).sum())
    return proportions.weighted(right[known], weights[known])


def _warnings(shared: pd.DataFrame, differs: pd.Series, known: pd.Series) -> tuple[str, ...]:
    judged, disagreeing = int((known & differs).sum()), int(differs.sum())
    if 0 < judged < disagreeing and (shared.rate[known & differs] == 1).any():
        return (
            f"Of {disagreeing:,} disagreements {judged:,} have a truth, and nothing says how they "
            "were chosen: the figures hold if it was at random. `ab label` chooses so.",
        )
    return ()
