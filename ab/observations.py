"""From the lines of a record to one observation a review, each counted once."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ab.errors import RecordError
from ab.events import INTERRUPTED, FeedbackState
from ab.record import Content, Event
from ab.transport import Outcome

Confusion = Counter[tuple[str, str]]
"""How often by truth and prediction."""


@dataclasses.dataclass(frozen=True)
class Observation:
    """The answer to a review that counts: that of the model drawn first.

    Attributes:
        id: of the review.
        model: that answered; None when nothing tells.
        truth: label; None while it is not known.
        predicted: label.
        scores: probability by label.
        latency_s: of the try that was answered, s.
        late: it came later than the run's timeout after the first try.
        feedback: how far its feedback got; None when none was due.
        line: the request's fields as recorded.
    """

    id: str
    model: str | None
    truth: str | None
    predicted: str
    scores: Mapping[str, float]
    latency_s: float
    late: bool
    feedback: FeedbackState | None
    line: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Failure:
    """A review whose first draw brought no answer.

    Attributes:
        id: of the review.
        model: that was drawn; None when nothing tells.
        outcome: how the try ended.
    """

    id: str
    model: str | None
    outcome: str


@dataclasses.dataclass(frozen=True)
class Observations:
    """What a record says, with everything that happened to it on the way.

    The unit is the first draw. A later try of a review draws anew, so whatever answers it may be
    another model than the one that failed: counted, the texts would move from the failing model to
    the healthy one. With a single model there is nothing to draw, and later answers count.

    Attributes:
        run: fields of the first line.
        answered: one observation for each review whose first draw was answered, as they arrived.
        failures: the reviews whose first draw brought no answer, answered later or not.
        retried: ids with an answer to a later draw, which counts for nothing.
        lost: ids without any answer.
        late: ids whose answer came late; it counts, once.
        duplicated: ids with more than one recorded answer; the first counts.
        repeated: ids that the endpoint may have answered more often than is recorded, because a
            try without an answer was repeated.
        unattributed: ids with an answer of which no model is known.
        contradicted: ids with two different truths; they count as without a truth.
        uncertain_feedback: ids whose feedback may or may not have been counted by the model.
        unsent: reviews of the plan that were never sent.
        torn, damaged: lines, see `ab.record.Content`.
    """

    run: Mapping[str, Any]
    answered: tuple[Observation, ...]
    failures: tuple[Failure, ...]
    retried: tuple[str, ...]
    lost: tuple[str, ...]
    late: tuple[str, ...]
    duplicated: tuple[str, ...]
    repeated: tuple[str, ...]
    unattributed: tuple[str, ...]
    contradicted: tuple[str, ...]
    uncertain_feedback: tuple[str, ...]
    unsent: int
    torn: int
    damaged: tuple[int, ...]


def observe(content: Content) -> Observations:
    """Reduce a record to one observation a review.

    Raises:
        RecordError: the record has no `run` line, or lines of more than one run.
    """
    run = run_of(content)
    requests = [event for event in content.events if event["event"] == "request"]
    answers = Counter(e["id"] for e in requests if e["outcome"] == Outcome.ANSWERED)
    counted, failures = _first_draws(content.events)
    if len(run["models"]) == 1:
        counted = _first_answers(requests)
    truths, contradicted = _truths(content.events)
    states = feedback_states(content.events)
    answered = tuple(
        _observation(line, None if i in contradicted else truths.get(i), states.get(i))
        for i, line in counted.items()
    )
    asked: Counter[str] = Counter()
    for event in requests:
        asked[event["id"]] += event["repeated"]
    return Observations(
        run=run,
        answered=answered,
        failures=tuple(failures.values()),
        retried=tuple(i for i in answers if i not in counted),
        lost=tuple(i for i in asked if i not in answers),
        late=tuple(o.id for o in answered if o.late),
        duplicated=tuple(i for i, count in answers.items() if count > 1),
        repeated=tuple(i for i, repeats in asked.items() if repeats),
        unattributed=tuple(o.id for o in answered if o.model is None),
        contradicted=tuple(sorted(contradicted)),
        uncertain_feedback=tuple(i for i, s in states.items() if s in _UNCERTAIN),
        unsent=max(0, int(run["data"]["reviews"]) - len(asked)),
        torn=content.torn,
        damaged=content.damaged,
    )


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
    on_the_way: set[str] = set()
    for event in events:
        kind, i = event["event"], event.get("id", "")
        if i in answered or i in failures:
            continue
        if kind == "sent" and i in on_the_way:
            failures[i] = Failure(i, None, INTERRUPTED)
        elif kind == "sent":
            on_the_way.add(i)
        elif kind in ("withdrawn", "request"):
            on_the_way.discard(i)
        if kind == "request":
            first = next(iter(_failed_tries(event)), None)
            if first is not None:
                failures[i] = Failure(i, first["model"], first["outcome"])
            elif event["outcome"] == Outcome.ANSWERED:
                answered[i] = event
    return answered, failures


def _failed_tries(line: Event) -> Sequence[Mapping[str, Any]]:
    """The failed tries that reached the endpoint; lines of format 1 tell only how many failed."""
    if "failed" in line:
        return list(line["failed"])
    if line["outcome"] == Outcome.UNREACHABLE:
        return []
    answered = line["outcome"] == Outcome.ANSWERED
    outcome = str(Outcome.FAILED) if answered else line["outcome"]
    return [{"outcome": outcome, "model": None}] * (line["tries"] - answered)


def _truths(events: Iterable[Event]) -> tuple[dict[str, str], set[str]]:
    """The truth of each review, and the reviews with two different ones."""
    truths: dict[str, str] = {}
    contradicted = set()
    for event in events:
        label = {"request": event.get("truth"), "truth": event.get("label")}.get(event["event"])
        if label is not None and truths.setdefault(event["id"], label) != label:
            contradicted.add(event["id"])
    return truths, contradicted


def _observation(line: Event, truth: str | None, state: FeedbackState | None) -> Observation:
    return Observation(
        id=line["id"],
        model=line["model"],
        truth=truth,
        predicted=line["predicted"],
        scores=line["scores"],
        latency_s=line["latency_s"],
        late=line["late"],
        feedback=state,
        line=line,
    )
