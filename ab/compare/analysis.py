"""The figures of two models on the same texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from ab.compare.answers import ModelAnswers
from ab.errors import AnalysisError
from ab.stats import latency, power, proportions, sequential
from ab.stats.interval import Interval
from ab.stats.paired import Pairs, exact_p_value, paired_difference


@dataclasses.dataclass(frozen=True)
class Disagreement:
    """A text that the models label differently.

    Attributes:
        id: of the review.
        text: the review; None when no record holds it.
        truth: label; None when it is not known.
        a, b: labels.
        score_a, score_b: their scores, 0..1.
    """

    id: str
    text: str | None
    truth: str | None
    a: str
    score_a: float
    b: str
    score_b: float


@dataclasses.dataclass(frozen=True)
class PairedComparison:
    """Two models on the same texts.

    Attributes:
        a, b: names.
        texts: that both models answered.
        pairs: those with a truth, by which model was right.
        accuracy_a, accuracy_b: on those, with Wilson's interval.
        difference: accuracy of B minus that of A, with Newcombe's interval for pairs.
        p_value: McNemar's exact test, for one look.
        sequential: the test that may be looked at again and again.
        needed: further texts until the sequential test is likely to decide; None when too many.
        latency_a, latency_b: percentile to seconds.
        disagreements: texts that the models label differently, truth known or not.
        only_one: ids that only one model answered; they count for nothing.
        missing_a, missing_b: of them, how many the model did not answer.
        alpha, margin: as given to `compare`.
    """

    a: str
    b: str
    texts: int
    pairs: Pairs
    accuracy_a: Interval
    accuracy_b: Interval
    difference: Interval
    p_value: float
    sequential: sequential.Sequential
    needed: int | None
    latency_a: dict[int, Interval]
    latency_b: dict[int, Interval]
    disagreements: tuple[Disagreement, ...]
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
    shared = [identity for identity in a.answers if identity in b.answers]
    if not shared:
        raise AnalysisError(f"no text was answered by both {a.name} and {b.name}")
    _check_same(a, b, shared)
    truths = {
        identity: a.answers[identity].truth or b.answers[identity].truth for identity in shared
    }
    judged = [identity for identity in shared if truths[identity] is not None]
    right_a = [a.answers[identity].predicted == truths[identity] for identity in judged]
    right_b = [b.answers[identity].predicted == truths[identity] for identity in judged]
    pairs = count(right_a, right_b)
    only_a = [x and not y for x, y in zip(right_a, right_b, strict=True)]
    only_b = [y and not x for x, y in zip(right_a, right_b, strict=True)]
    return PairedComparison(
        a=a.name,
        b=b.name,
        texts=len(shared),
        pairs=pairs,
        accuracy_a=proportions.wilson(pairs.both + pairs.only_a, pairs.n),
        accuracy_b=proportions.wilson(pairs.both + pairs.only_b, pairs.n),
        difference=paired_difference(pairs, 1 - alpha),
        p_value=exact_p_value(pairs),
        sequential=sequential.paired(only_a, only_b, alpha),
        needed=power.remaining_paired(only_a, only_b, power.TestPlan(margin, alpha)),
        latency_a=_latencies(a, shared),
        latency_b=_latencies(b, shared),
        disagreements=_disagreements(a, b, truths, texts),
        only_one=tuple(sorted(a.answers.keys() ^ b.answers.keys())),
        missing_a=len(b.answers.keys() - a.answers.keys()),
        missing_b=len(a.answers.keys() - b.answers.keys()),
        alpha=alpha,
        margin=margin,
    )


def count(right_a: Sequence[bool], right_b: Sequence[bool]) -> Pairs:
    """Texts by which model was right."""
    table = [[0, 0], [0, 0]]
    for a, b in zip(right_a, right_b, strict=True):
        table[a][b] += 1
    return Pairs(both=table[1][1], only_a=table[1][0], only_b=table[0][1], neither=table[0][0])


def _check_same(a: ModelAnswers, b: ModelAnswers, shared: Sequence[str]) -> None:
    for identity in shared:
        one, other = a.answers[identity], b.answers[identity]
        if one.line["sha256"] != other.line["sha256"]:
            raise AnalysisError(f"review {identity} is another text for {a.name} than for {b.name}")
        if one.truth and other.truth and one.truth != other.truth:
            raise AnalysisError(
                f"review {identity} has the truth {one.truth} for {a.name}, {other.truth} for "
                f"{b.name}"
            )


def _latencies(model: ModelAnswers, shared: Sequence[str]) -> dict[int, Interval]:
    seconds = [model.answers[identity].latency_s for identity in shared]
    return {p: latency.percentile(seconds, p) for p in latency.PERCENTILES}


def _disagreements(
    a: ModelAnswers, b: ModelAnswers, truths: Mapping[str, str | None], texts: Mapping[str, str]
) -> tuple[Disagreement, ...]:
    return tuple(
        Disagreement(
            id=identity,
            text=a.answers[identity].line.get("text")
            or b.answers[identity].line.get("text")
            or texts.get(identity),
            truth=truth,
            a=a.answers[identity].predicted,
            score_a=a.answers[identity].score,
            b=b.answers[identity].predicted,
            score_b=b.answers[identity].score,
        )
        for identity, truth in truths.items()
        if a.answers[identity].predicted != b.answers[identity].predicted
    )
