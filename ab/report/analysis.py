"""The figures: each model, and every later model against the first one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ab.attribution import Model
from ab.errors import AnalysisError
from ab.observations import Observations, RequestTotals, errors_of, observe
from ab.record import Content
from ab.report.guardrails import Check, check_guardrails, parse_guardrail
from ab.report.segments import Segment, find_segments
from ab.report.twins import faults
from ab.stats import latency, power, proportions, sequential
from ab.stats.interval import Interval
from ab.stats.power import TestPlan
from ab.stats.sequential import Sequential
from ab.stats.split import Split, check_split
from roberta_sentiment.errors import DataError
from roberta_sentiment.tools import metrics


@dataclasses.dataclass(frozen=True)
class ModelFigures:
    """How one model did.

    Attributes:
        name: of the model.
        share: declared share of the traffic, 0..1.
        tries: first tries, failed or not: requests, or what else is drawn as one.
        answers: that count.
        judged: of them, those with a truth; all figures of quality are about these.
        right: right answers.
        accuracy: with Wilson's interval; weighted where truths were sought at different rates.
        quality: the other figures, unweighted; None without a truth.
        latency_s: percentile to seconds, of all answers.
        late: answers later than the run's time limit; they count.
        errors: first tries that are known to be this model's and failed, by outcome.
        versions: of the model and its image, as the answers name them.
    """

    name: str
    share: float
    tries: int
    answers: int
    judged: int
    right: int
    accuracy: Interval
    quality: metrics.Quality | None
    latency_s: dict[int, Interval]
    late: int
    errors: dict[str, int]
    versions: tuple[str, ...]


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
        guardrails: of B, checked at every look.
        segments: the difference for kinds of texts.
        faults: of the set-up, where A and B are declared to be copies of one model.
    """

    a: str
    b: str
    difference: Interval
    p_value: float | None
    b_better: float
    a_better: float
    sequential: Sequential
    needed: int | None
    guardrails: tuple[Check, ...]
    segments: tuple[Segment, ...]
    faults: tuple[str, ...]

    @property
    def estimate(self) -> Interval:
        """The difference at any look."""
        return self.sequential.estimate(self.difference.value)


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
        sampled_truths: whether all truths were sought with known rates below 1.
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
    sampled_truths: bool


def analyse(content: Content, plan: TestPlan, models: Sequence[Model] = ()) -> Analysis:
    """Work out all figures of a record.

    Args:
        content: the record.
        plan: what was agreed on.
        models: to report, A first, with their shares; by default those of the record.

    Raises:
        RecordError: it is not a record of one run.
        AnalysisError: it holds no answer.
        DataError: it knows no such model or guardrail.
    """
    seen = observe(content)
    if plan.unit:
        keys = seen.answered.request_tags.map(lambda tags: tags.get(plan.unit))
        seen.answered["unit"] = keys.combine_first(seen.answered.unit)
    if seen.answered.empty:
        raise AnalysisError(
            f"the record holds no answer to a first try; {len(seen.totals.lost)} requests got "
            f"none, {len(seen.totals.retried)} at a later try only"
        )
    labels, shares = tuple(seen.run["labels"]), _declared(seen, models)
    answers = seen.answered
    figures = tuple(_figures(name, share, seen, labels) for name, share in shares.items())
    others = answers.id[answers.model.notna() & ~answers.model.isin(list(shares))]
    times = [event["time"] for event in content.events if event["event"] == "request"]
    declared = list(shares.values())
    each = plan.divided(len(figures) - 1)
    return Analysis(
        run=seen.run,
        labels=labels,
        plan=plan,
        first=times[0],
        last=times[-1],
        models=figures,
        comparisons=tuple(_comparison(figures[0], b, seen, *each) for b in figures[1:]),
        split=check_split([f.tries for f in figures], declared),
        kept=check_split(
            [answers.unit[answers.model == name].nunique() for name in shares], declared
        ),
        totals=dataclasses.replace(seen.totals, other_models=tuple(others)),
        stopped=content.events[-1]["event"] == "stopped",
        sampled_truths=bool((answers.rate[answers.truth.notna()] < 1).all()),
    )


def _declared(seen: Observations, models: Sequence[Model]) -> dict[str, float]:
    """Share of each model that is reported; they sum to 1."""
    recorded = {str(m["name"]): float(m["share"]) for m in seen.run["models"]}
    shares = {model.name: model.share for model in models} or recorded
    unknown = shares.keys() - recorded.keys()
    if unknown:
        raise DataError(
            f"the record has no model {sorted(unknown)[0]!r}; it has {', '.join(recorded)}"
        )
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items()}


def _figures(name: str, share: float, seen: Observations, labels: Sequence[str]) -> ModelFigures:
    answers = seen.answered[seen.answered.model == name]
    judged = answers[answers.truth.notna()]
    failed = {f.id.partition("#")[0] for f in seen.failures if f.model == name}
    versions = {
        f"{tags.get('model_version') or tags.get('served_version') or ''} {path.get(name, '')}"
        for tags, path in zip(answers.tags, answers.path, strict=True)
    }
    return ModelFigures(
        name=name,
        share=share,
        tries=len({*answers.unit, *failed}),
        answers=len(answers),
        judged=len(judged),
        right=int(judged.right.sum()),
        accuracy=proportions.weighted(judged.right, 1 / judged.rate),
        quality=_quality(judged, labels),
        latency_s=latency.percentiles(answers.latency_s),
        late=int(answers.late.sum()),
        errors=errors_of(name, seen.failures),
        versions=tuple(sorted(version.strip() for version in versions)),
    )


def _quality(judged: pd.DataFrame, labels: Sequence[str]) -> metrics.Quality | None:
    """How good the answers with a truth are; None without any."""
    if judged.empty:
        return None
    scores = np.array([[row[label] for label in labels] for row in judged.scores], float)
    truths, predicted = (list(map(labels.index, judged[c])) for c in ("truth", "predicted"))
    return metrics.quality(truths, scores, predicted)


def _comparison(
    a: ModelFigures, b: ModelFigures, seen: Observations, plan: TestPlan, side_alpha: float
) -> Comparison:
    names, share_b = (a.name, b.name), b.share / (a.share + b.share)
    answers = seen.answered[seen.answered.model.isin(names)].sort_values("sent", kind="stable")
    judged = answers[answers.truth.notna()]
    from_b, right = (judged.model == b.name).tolist(), judged.right.tolist()
    counts = (a.right, a.judged, b.right, b.judged)
    backwards = (b.right, b.judged, a.right, a.judged)
    guardrails = [parse_guardrail(text, seen.run["labels"]) for text in plan.guardrails]
    return Comparison(
        a=a.name,
        b=b.name,
        difference=proportions.difference(*counts, confidence=1 - plan.alpha),
        p_value=proportions.difference_p_value(*counts),
        b_better=proportions.probability_better(*counts, plan.margin),
        a_better=proportions.probability_better(*backwards, plan.margin),
        sequential=sequential.of_answers(judged, b.name, share_b, plan.alpha),
        needed=power.remaining_independent(from_b, right, share_b, plan),
        guardrails=check_guardrails(guardrails, seen, names, share_b, side_alpha),
        segments=find_segments(judged, plan.segments, names, share_b, side_alpha, plan.correction),
        faults=faults(answers, *names) if plan.twins else (),
    )
