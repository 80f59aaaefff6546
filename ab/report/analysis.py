"""The figures: each model, every later model against the first one, and where requests went."""

from __future__ import annotations

import dataclasses
import datetime
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ab.attribution import Model
from ab.errors import AnalysisError
from ab.events import INTERRUPTED
from ab.observations import Failure, Observation, Observations, observe
from ab.record import Content
from ab.stats import latency, power, proportions, sequential
from ab.stats.interval import Interval
from ab.stats.split import Split, check_split
from ab.transport import Outcome
from roberta_sentiment.tools import metrics


@dataclasses.dataclass(frozen=True)
class Terms:
    """What was agreed on before anybody looks.

    Attributes:
        margin: a difference in accuracy that would change a decision; smaller ones do not matter.
        alpha: false alarm rate over all looks and all models together.
        power: probability of a verdict at which further samples are counted.
    """

    margin: float = 0.01
    alpha: float = sequential.ALPHA
    power: float = 0.8


@dataclasses.dataclass(frozen=True)
class ModelFigures:
    """How one model did.

    Attributes:
        name: of the model.
        share: declared share of the traffic, 0..1.
        answers: that count.
        judged: of them, those with a truth; all figures of quality are about these.
        right: right answers.
        accuracy: with Wilson's interval.
        mcc: Matthews correlation, -1..1; None when it is 0/0.
        macro_f1: mean F1 of the classes.
        brier: score, 0 (best) to 1 for two classes, else to 2.
        confusion: counts by truth (row) and prediction (column), in the order of the labels.
        calibration_error: expected calibration error, 0..1.
        reliability: its bins.
        latency_s: percentile to seconds, of all answers.
        late: answers later than the run's time limit; they count.
        errors: first tries that are known to be this model's and failed, by outcome.
    """

    name: str
    share: float
    answers: int
    judged: int
    right: int
    accuracy: Interval
    mcc: float | None
    macro_f1: float | None
    brier: float | None
    confusion: list[list[int]]
    calibration_error: float | None
    reliability: tuple[metrics.Bin, ...]
    latency_s: dict[int, Interval]
    late: int
    errors: dict[str, int]


@dataclasses.dataclass(frozen=True)
class Duel:
    """Model B against model A.

    Attributes:
        a, b: names.
        difference: accuracy of B minus that of A, with Newcombe's interval, for one look.
        p_value: of "no difference", for one look.
        b_better: probability that B's accuracy exceeds A's by more than the margin.
        a_better: the same the other way round.
        sequential: the test that may be looked at every day; its answers are those of A and B.
        needed: further answers of both together until a verdict is likely; 0 when it is there,
            None when even 200 times as many hardly suffice.
    """

    a: str
    b: str
    difference: Interval
    p_value: float | None
    b_better: float
    a_better: float
    sequential: sequential.Sequential
    needed: int | None


@dataclasses.dataclass(frozen=True)
class Account:
    """Where every request has gone; ids are those of the reviews.

    Attributes:
        requests: reviews that were sent, each once: answered + retried + lost.
        answered: with an answer that counts, once: that to the first try.
        retried: ids that were answered only after a failed try, perhaps by another model; left out.
        interrupted: ids that were on their way when the run was killed; left out.
        lost: ids without any answer.
        errors: how the lost ones ended, by outcome.
        unknown_errors: first tries that failed at a model that nothing names, by outcome.
        late: ids whose answer came after the time limit; it counts, once.
        duplicated: ids with more than one recorded answer; the first one counts.
        repeated: ids that the endpoint may have answered more often than is recorded.
        unattributed: ids with an answer of which no model is known; it counts for none.
        other_models: ids answered by a model that is not part of this report.
        contradicted: ids with two different truths; they count as without a truth.
        without_truth: answers that wait for a truth.
        uncertain_feedback: ids whose feedback a model may or may not have counted.
        unsent: reviews of the plan of which the record knows nothing.
        unreadable: lines of the record that are cut short or damaged.
    """

    requests: int
    answered: int
    retried: tuple[str, ...]
    interrupted: tuple[str, ...]
    lost: tuple[str, ...]
    errors: dict[str, int]
    unknown_errors: dict[str, int]
    late: tuple[str, ...]
    duplicated: tuple[str, ...]
    repeated: tuple[str, ...]
    unattributed: tuple[str, ...]
    other_models: tuple[str, ...]
    contradicted: tuple[str, ...]
    without_truth: int
    uncertain_feedback: tuple[str, ...]
    unsent: int
    unreadable: int


@dataclasses.dataclass(frozen=True)
class Analysis:
    """Everything the report says.

    Attributes:
        run: fields of the record's first line.
        labels: names of the classes.
        terms: what was agreed on.
        first, last: when the first and the last request ended, ISO 8601.
        models: figures of each, A first.
        duels: of every later model against A.
        split: of the first tries over the models, failed or not, as far as their model is known.
        kept: the same for the answers that count; it fits only if the models fail equally often.
        account: where every request has gone.
    """

    run: Mapping[str, Any]
    labels: tuple[str, ...]
    terms: Terms
    first: str
    last: str
    models: tuple[ModelFigures, ...]
    duels: tuple[Duel, ...]
    split: Split
    kept: Split
    account: Account


def analyse(content: Content, terms: Terms, models: Sequence[Model] = ()) -> Analysis:
    """Work out all figures of a record.

    Args:
        content: the record.
        terms: what was agreed on.
        models: to report, A first, with their shares; by default those of the record.

    Raises:
        RecordError: it is no record of one run.
        AnalysisError: it holds no answer, or not of these models.
    """
    seen = observe(content)
    if not seen.answered:
        raise AnalysisError(
            f"the record holds no answer to a first try; {len(seen.lost)} requests got none, "
            f"{len(seen.retried)} at a later try only"
        )
    labels = tuple(seen.run["labels"])
    shares = _declared(seen, models)
    ends = [e for e in content.events if e["event"] == "request"]
    declared, errors = list(shares.values()), _errors(seen.failures)
    answers = {name: [o for o in seen.answered if o.model == name] for name in shares}
    figures = tuple(
        _figures(name, share, answers[name], labels, dict(errors[name]))
        for name, share in shares.items()
    )
    return Analysis(
        run=seen.run,
        labels=labels,
        terms=terms,
        first=ends[0]["time"],
        last=ends[-1]["time"],
        models=figures,
        duels=_duels(figures, seen.answered, terms),
        split=check_split([f.answers + sum(f.errors.values()) for f in figures], declared),
        kept=check_split([f.answers for f in figures], declared),
        account=_account(seen, shares, ends, dict(errors[None])),
    )


def _declared(seen: Observations, models: Sequence[Model]) -> dict[str, float]:
    """Share of each model that is reported; they sum to 1."""
    recorded = {str(m["name"]): float(m["share"]) for m in seen.run["models"]}
    shares = {model.name: model.share for model in models} or recorded
    strange = shares.keys() - recorded.keys()
    if strange:
        raise AnalysisError(
            f"the record has no model {sorted(strange)[0]!r}; it has {', '.join(recorded)}"
        )
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items()}


def _errors(failures: Sequence[Failure]) -> defaultdict[str | None, Counter[str]]:
    """How the first tries ended that failed, by model; None where nothing names it."""
    counts: defaultdict[str | None, Counter[str]] = defaultdict(Counter)
    for failure in failures:
        if failure.outcome != INTERRUPTED:
            counts[failure.model][failure.outcome] += 1
    return counts


def _figures(
    name: str,
    share: float,
    answers: Sequence[Observation],
    labels: Sequence[str],
    errors: dict[str, int],
) -> ModelFigures:
    judged = [o for o in answers if o.truth is not None]
    right = sum(o.predicted == o.truth for o in judged)
    quality = _quality(judged, labels)
    seconds = [o.latency_s for o in answers]
    return ModelFigures(
        name=name,
        share=share,
        answers=len(answers),
        judged=len(judged),
        right=right,
        accuracy=proportions.wilson(right, len(judged)),
        mcc=quality.mcc if quality else None,
        macro_f1=quality.f1_macro if quality else None,
        brier=quality.brier if quality else None,
        confusion=[list(row) for row in quality.confusion]
        if quality
        else [[0] * len(labels) for _ in labels],
        calibration_error=quality.calibration_error if quality else None,
        reliability=quality.bins if quality else (),
        latency_s={p: latency.percentile(seconds, p) for p in latency.PERCENTILES},
        late=sum(o.late for o in answers),
        errors=errors,
    )


def _quality(judged: Sequence[Observation], labels: Sequence[str]) -> metrics.Quality | None:
    """How good the answers with a truth are; None without any."""
    if not judged:
        return None
    truths = [labels.index(str(o.truth)) for o in judged]
    scores = np.array([[o.scores[label] for label in labels] for o in judged], float)
    return metrics.quality(truths, scores, [labels.index(o.predicted) for o in judged])


def _duels(
    models: Sequence[ModelFigures], answered: Sequence[Observation], terms: Terms
) -> tuple[Duel, ...]:
    """Every later model against the first; the false alarm rate is shared out among them."""
    first, *others = models
    judged = sorted((o for o in answered if o.truth is not None), key=_sent_at)
    share_of_terms = dataclasses.replace(terms, alpha=terms.alpha / max(1, len(others)))
    return tuple(_duel(first, other, judged, share_of_terms) for other in others)


def _duel(a: ModelFigures, b: ModelFigures, judged: Sequence[Observation], terms: Terms) -> Duel:
    ours = [o for o in judged if o.model in (a.name, b.name)]
    from_b = [o.model == b.name for o in ours]
    right = [o.predicted == o.truth for o in ours]
    share_b = b.share / (a.share + b.share)
    counts = (a.right, a.judged, b.right, b.judged)
    backwards = (b.right, b.judged, a.right, a.judged)
    goal = power.Goal(terms.margin, terms.power, terms.alpha)
    return Duel(
        a=a.name,
        b=b.name,
        difference=proportions.difference(*counts, confidence=1 - terms.alpha),
        p_value=proportions.difference_p_value(*counts),
        b_better=proportions.probability_better(*counts, terms.margin),
        a_better=proportions.probability_better(*backwards, terms.margin),
        sequential=sequential.independent(from_b, right, share_b, terms.alpha),
        needed=power.remaining_independent(from_b, right, share_b, goal),
    )


def _sent_at(observation: Observation) -> float:
    """Seconds since 1970 at which the first try left.

    The test needs the order of sending: the faster model's answers come first, and so would bend
    the split that it assumes.
    """
    ended = datetime.datetime.fromisoformat(observation.line["time"])
    return ended.timestamp() - float(observation.line["waited_s"])


def _account(
    seen: Observations,
    shares: Mapping[str, float],
    ends: Sequence[Mapping[str, Any]],
    unknown_errors: dict[str, int],
) -> Account:
    outcomes = {end["id"]: end["outcome"] for end in ends if end["outcome"] != Outcome.ANSWERED}
    strangers = (o.id for o in seen.answered if o.model is not None and o.model not in shares)
    return Account(
        requests=len({end["id"] for end in ends}),
        answered=len(seen.answered),
        retried=seen.retried,
        interrupted=tuple(f.id for f in seen.failures if f.outcome == INTERRUPTED),
        unknown_errors=unknown_errors,
        lost=seen.lost,
        errors=dict(Counter(outcomes[identity] for identity in seen.lost)),
        late=seen.late,
        duplicated=seen.duplicated,
        repeated=seen.repeated,
        unattributed=seen.unattributed,
        other_models=tuple(strangers),
        contradicted=seen.contradicted,
        without_truth=sum(o.truth is None for o in seen.answered),
        uncertain_feedback=seen.uncertain_feedback,
        unsent=seen.unsent,
        unreadable=seen.torn + len(seen.damaged),
    )
