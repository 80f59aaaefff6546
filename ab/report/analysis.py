"""The figures: each model, and every later model against the first one."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ab.attribution import Model
from ab.errors import AnalysisError
from ab.observations import Observation, Observations, RequestTotals, errors_of, observe
from ab.record import Content
from ab.stats import latency, power, proportions, sequential
from ab.stats.interval import Interval
from ab.stats.power import TestPlan
from ab.stats.split import Split, check_split
from roberta_sentiment.tools import metrics


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
class Comparison:
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
class Analysis:
    """Everything the report says.

    Attributes:
        run: fields of the record's first line.
        labels: names of the classes.
        plan: what was agreed on.
        first, last: when the first and the last request ended, ISO 8601.
        models: figures of each, A first.
        comparisons: of every later model against A.
        split: of the first tries over the models, failed or not, as far as their model is known.
        kept: the same for the answers that count; it fits only if the models fail equally often.
        totals: what became of every request.
        stopped: whether the run was interrupted and has not been resumed.
    """

    run: Mapping[str, Any]
    labels: tuple[str, ...]
    plan: TestPlan
    first: str
    last: str
    models: tuple[ModelFigures, ...]
    comparisons: tuple[Comparison, ...]
    split: Split
    kept: Split
    totals: RequestTotals
    stopped: bool


def analyse(content: Content, plan: TestPlan, models: Sequence[Model] = ()) -> Analysis:
    """Work out all figures of a record.

    Args:
        content: the record.
        plan: what was agreed on.
        models: to report, A first, with their shares; by default those of the record.

    Raises:
        RecordError: it is not a record of one run.
        AnalysisError: it holds no answer, or not of these models.
    """
    seen = observe(content)
    if not seen.answered:
        raise AnalysisError(
            f"the record holds no answer to a first try; {len(seen.totals.lost)} requests got "
            f"none, {len(seen.totals.retried)} at a later try only"
        )
    labels, shares = tuple(seen.run["labels"]), _declared(seen, models)
    figures = tuple(_figures(name, share, seen, labels) for name, share in shares.items())
    others = (o.id for o in seen.answered if o.model is not None and o.model not in shares)
    times = [event["time"] for event in content.events if event["event"] == "request"]
    declared = list(shares.values())
    return Analysis(
        run=seen.run,
        labels=labels,
        plan=plan,
        first=times[0],
        last=times[-1],
        models=figures,
        comparisons=_comparisons(figures, seen.answered, plan),
        split=check_split([f.answers + sum(f.errors.values()) for f in figures], declared),
        kept=check_split([f.answers for f in figures], declared),
        totals=dataclasses.replace(seen.totals, other_models=tuple(others)),
        stopped=content.events[-1]["event"] == "stopped",
    )


def _declared(seen: Observations, models: Sequence[Model]) -> dict[str, float]:
    """Share of each model that is reported; they sum to 1."""
    recorded = {str(m["name"]): float(m["share"]) for m in seen.run["models"]}
    shares = {model.name: model.share for model in models} or recorded
    unknown = shares.keys() - recorded.keys()
    if unknown:
        raise AnalysisError(
            f"the record has no model {sorted(unknown)[0]!r}; it has {', '.join(recorded)}"
        )
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items()}


def _figures(name: str, share: float, seen: Observations, labels: Sequence[str]) -> ModelFigures:
    answers = [o for o in seen.answered if o.model == name]
    judged = [o for o in answers if o.truth is not None]
    right = sum(o.is_right for o in judged)
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
        errors=errors_of(name, seen.failures),
    )


def _quality(judged: Sequence[Observation], labels: Sequence[str]) -> metrics.Quality | None:
    """How good the answers with a truth are; None without any."""
    if not judged:
        return None
    truths = [labels.index(str(o.truth)) for o in judged]
    scores = np.array([[o.scores[label] for label in labels] for o in judged], float)
    return metrics.quality(truths, scores, [labels.index(o.predicted) for o in judged])


def _comparisons(
    models: Sequence[ModelFigures], answered: Sequence[Observation], plan: TestPlan
) -> tuple[Comparison, ...]:
    """Every later model against the first; the false alarm rate divided among them."""
    first, *others = models
    judged = sorted((o for o in answered if o.truth is not None), key=_sent_at)
    plan = dataclasses.replace(plan, alpha=plan.alpha / max(1, len(others)))
    return tuple(_comparison(first, other, judged, plan) for other in others)


def _comparison(
    a: ModelFigures, b: ModelFigures, judged: Sequence[Observation], plan: TestPlan
) -> Comparison:
    ours = [o for o in judged if o.model in (a.name, b.name)]
    from_b = [o.model == b.name for o in ours]
    right = [o.is_right for o in ours]
    share_b = b.share / (a.share + b.share)
    counts = (a.right, a.judged, b.right, b.judged)
    backwards = (b.right, b.judged, a.right, a.judged)
    return Comparison(
        a=a.name,
        b=b.name,
        difference=proportions.difference(*counts, confidence=1 - plan.alpha),
        p_value=proportions.difference_p_value(*counts),
        b_better=proportions.probability_better(*counts, plan.margin),
        a_better=proportions.probability_better(*backwards, plan.margin),
        sequential=sequential.independent(from_b, right, share_b, plan.alpha),
        needed=power.remaining_independent(from_b, right, share_b, plan),
    )


def _sent_at(observation: Observation) -> float:
    """Seconds since 1970 at which the first try left.

    The test needs the order of sending: the faster model's answers come first, and so would bend
    the split that it assumes.
    """
    ended = datetime.datetime.fromisoformat(observation.line["time"])
    return ended.timestamp() - float(observation.line["waited_s"])
