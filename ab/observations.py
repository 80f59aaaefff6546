"""From the lines of a record to one observation a review, each counted once."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ab.errors import RecordError
from ab.events import INTERRUPTED, FeedbackState
from ab.record import Content, Event
from ab.transport.reply import Outcome

Confusion = Counter[tuple[str, str]]
"""How often by truth and prediction."""


@dataclasses.dataclass(frozen=True)
class Observation:
    """The answer to a review that counts: that of the model drawn first.

    Attributes:
        id: of the review.
        model: that answered; None when nothing says it.
        truth: label; None while it is not known.
        predicted: label.
        scores: probability by label.
        latency_s: of the try that was answered, s.
        late: it came later than the run's timeout after the first try.
        line: the request's fields as recorded.
    """

    id: str
    model: str | None
    truth: str | None
    predicted: str
    scores: Mapping[str, float]
    latency_s: float
    late: bool
    line: Mapping[str, Any]

    @property
    def score(self) -> float:
        """Of the predicted label, 0..1."""
        return self.scores[self.predicted]

    @property
    def is_right(self) -> bool:
        """Whether the truth is known and was predicted."""
        return self.truth == self.predicted


@dataclasses.dataclass(frozen=True)
class Failure:
    """A review whose first draw brought no answer.

    Attributes:
        id: of the review.
        model: that was drawn; None when nothing says it.
        outcome: how the try ended.
    """

    id: str
    model: str | None
    outcome: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class RequestTotals:
    """What became of every request; ids are those of the reviews.

    Attributes:
        requests: reviews that were sent, each once: answered + retried + lost.
        answered: with an answer that counts, once: that to the first try.
        retried: ids that were answered only after a failed try, perhaps by another model; left out.
        interrupted: ids whose request was running when the run was killed; left out.
        lost: ids without any answer.
        errors: how the lost ones ended, by outcome.
        unknown_errors: first tries that failed at a model that nothing names, by outcome.
        late: ids whose answer came after the time limit; it counts, once.
        duplicated: ids with more than one recorded answer; the first one counts.
        repeated: ids that the endpoint may have answered more often than is recorded, because a
            try without an answer was repeated.
        unattributed: ids with an answer of which no model is known; it counts for none.
        other_models: ids answered by a model that is not part of the report.
        contradicted: ids with two different truths; they count as without a truth.
        without_truth: answers that wait for a truth.
        uncertain_feedback: ids whose feedback a model may or may not have counted.
        unsent: reviews of the plan that were never sent.
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
    other_models: tuple[str, ...] = ()
    contradicted: tuple[str, ...]
    without_truth: int
    uncertain_feedback: tuple[str, ...]
    unsent: int
    unreadable: int


@dataclasses.dataclass(frozen=True)
class Observations:
    """What a record says, each review counted once.

    The unit is the first draw. A later try of a review draws again, so its answer may be that of
    another model than the one that failed: counted, the texts would move from the failing model to
    the healthy one. With a single model there is nothing to draw, and later answers count.

    Attributes:
        run: fields of the first line.
        answered: one observation for each review whose first draw was answered, as they arrived.
        failures: the reviews whose first draw brought no answer, answered later or not.
        totals: what became of every request.
    """

    run: Mapping[str, Any]
    answered: tuple[Observation, ...]
    failures: tuple[Failure, ...]
    totals: RequestTotals


def observe(content: Content) -> Observations:
    """Reduce a record to one observation a review.

    Raises:
        RecordError: the record has no `run` line, or lines of more than one run.
    """
    run = run_of(content)
    requests = [event for event in content.events if event["event"] == "request"]
    counted, failures = _first_draws(content.events)
    if len(run["models"]) == 1:
        counted = _first_answers(requests)
    truths, contradicted = truths_of(content.events)
    states = feedback_states(content.events)
    answered = tuple(
        observation(line, None if i in contradicted else truths.get(i))
        for i, line in counted.items()
    )
    of_requests = _totals_of_requests(requests, counted)
    totals = RequestTotals(
        **of_requests,
        interrupted=tuple(f.id for f in failures.values() if f.outcome == INTERRUPTED),
        unknown_errors=errors_of(None, failures.values()),
        late=tuple(o.id for o in answered if o.late),
        unattributed=tuple(o.id for o in answered if o.model is None),
        contradicted=tuple(sorted(contradicted)),
        without_truth=sum(o.truth is None for o in answered),
        uncertain_feedback=tuple(i for i, state in states.items() if state in _UNCERTAIN),
        unsent=max(0, int(run["data"]["reviews"]) - of_requests["requests"]),
        unreadable=content.torn + len(content.damaged),
    )
    return Observations(run, answered, tuple(failures.values()), totals)


def _totals_of_requests(requests: Sequence[Event], counted: Collection[str]) -> dict[str, Any]:
    answers = Counter(e["id"] for e in requests if e["outcome"] == Outcome.ANSWERED)
    outcomes, repeats = {e["id"]: e["outcome"] for e in requests}, Counter[str]()
    for event in requests:
        repeats[event["id"]] += event["repeated"]
    lost = tuple(i for i in outcomes if i not in answers)
    return {
        "requests": len(outcomes),
        "answered": len(counted),
        "retried": tuple(i for i in answers if i not in counted),
        "lost": lost,
        "errors": dict(Counter(outcomes[i] for i in lost)),
        "duplicated": tuple(i for i, count in answers.items() if count > 1),
        "repeated": tuple(i for i, count in repeats.items() if count),
    }


def errors_of(model: str | None, failures: Iterable[Failure]) -> dict[str, int]:
    """How the first tries ended that failed at a model, by outcome; None: at an unknown one."""
    outcomes = (f.outcome for f in failures if f.model == model)
    return dict(Counter(outcome for outcome in outcomes if outcome != INTERRUPTED))


def confusion_of_feedback(events: Iterable[Event]) -> dict[str, Confusion]:
    """By model, what its feedback counters must show: each feedback that it took, once."""
    tables: dict[str, Confusion] = {}
    counted: set[str] = set()
    for event in events:
        if event["event"] != "feedback" or event["state"] != FeedbackState.ANSWERED:
            continue
        if event["id"] not in counted and event["model"] is not None:
            counted.add(event["id"])
            table = tables.setdefault(event["model"], Counter())
            table[event["truth"], event["predicted"]] += 1
    return tables


def run_of(content: Content) -> Mapping[str, Any]:
    """Fields of the `run` line.

    Raises:
        RecordError: there is none, or more than one.
    """
    runs = [event for event in content.events if event["event"] == "run"]
    if len({event["run"] for event in runs}) != 1:
        raise RecordError(f"the record holds the start of {len(runs)} runs; it must be one")
    return runs[0]


def feedback_states(events: Iterable[Event]) -> dict[str, FeedbackState]:
    """How far the feedback of each review got: its last line."""
    return {e["id"]: FeedbackState(e["state"]) for e in events if e["event"] == "feedback"}


_UNCERTAIN = (FeedbackState.SENDING, FeedbackState.UNKNOWN)


def _first_answers(requests: Sequence[Event]) -> dict[str, Event]:
    first: dict[str, Event] = {}
    for event in requests:
        if event["outcome"] == Outcome.ANSWERED:
            first.setdefault(event["id"], event)
    return first


def _first_draws(events: Iterable[Event]) -> tuple[dict[str, Event], dict[str, Failure]]:
    """By review, the line of a first draw that was answered, and how the others ended."""
    answered: dict[str, Event] = {}
    failures: dict[str, Failure] = {}
    running: set[str] = set()
    for event in events:
        kind, i = event["event"], event.get("id", "")
        if i in answered or i in failures:
            continue
        if kind == "sent" and i in running:
            failures[i] = Failure(i, None, INTERRUPTED)
        elif kind == "sent":
            running.add(i)
        elif kind in ("withdrawn", "request"):
            running.discard(i)
        if kind == "request":
            first = next(iter(_failed_tries(event)), None)
            if first is not None:
                failures[i] = Failure(i, first["model"], first["outcome"])
            elif event["outcome"] == Outcome.ANSWERED:
                answered[i] = event
    return answered, failures


def _failed_tries(line: Event) -> Sequence[Mapping[str, Any]]:
    """The failed tries that reached the endpoint; lines of format 1 hold only how many failed."""
    if "failed" in line:
        return list(line["failed"])
    if line["outcome"] == Outcome.UNREACHABLE:
        return []
    answered = line["outcome"] == Outcome.ANSWERED
    outcome = str(Outcome.FAILED) if answered else line["outcome"]
    return [{"outcome": outcome, "model": None}] * (line["tries"] - answered)


def truths_of(events: Iterable[Event]) -> tuple[dict[str, str], set[str]]:
    """The truth of each review, and the reviews with two different ones."""
    truths: dict[str, str] = {}
    contradicted = set()
    for event in events:
        label = {"request": event.get("truth"), "truth": event.get("label")}.get(event["event"])
        if label is not None and truths.setdefault(event["id"], label) != label:
            contradicted.add(event["id"])
    return truths, contradicted


def observation(line: Event, truth: str | None) -> Observation:
    """The observation in a `request` line with an answer.

    Args:
        line: of the record.
        truth: label; None while it is not known.
    """
    return Observation(
        id=line["id"],
        model=line["model"],
        truth=truth,
        predicted=line["predicted"],
        scores=line["scores"],
        latency_s=line["latency_s"],
        late=line["late"],
        line=line,
    )
