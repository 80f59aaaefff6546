"""From the lines of a record to a table with one answer a review."""

from __future__ import annotations

import dataclasses
import datetime
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ab.errors import RecordError
from ab.events import INTERRUPTED, FeedbackState, Request
from ab.record import Content, Event
from ab.transport.reply import Outcome

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True, kw_only=True)
class RequestTotals:
    """What became of every request: counts, outcomes, and ids of reviews.

    What the ids mean for the figures says `ab.report.totals`. `requests` are answered, retried or
    lost; `errors` tells how the lost ones ended, `unknown_errors` how first tries failed at a model
    that nothing names; `unsent` are reviews of the plan, `unreadable` lines of the record.
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
class Failure:
    """A review whose first draw brought no answer.

    Attributes:
        id: of the review.
        model: that was drawn; None when nothing says it.
        outcome: how the try ended.
        sent: when it left, s since 1970.
    """

    id: str
    model: str | None
    outcome: str
    sent: float = 0.0


@dataclasses.dataclass(frozen=True)
class Observations:
    """What a record says, each review counted once.

    The unit is the first draw. A later try of a review draws again, so its answer may be that of
    another model than the one that failed: counted, the texts would move from the failing model to
    the healthy one. With a single model there is nothing to draw, and later answers count.

    Attributes:
        run: fields of the first line.
        answered: see `table`; the reviews whose first draw was answered, as they arrived.
        failures: the reviews whose first draw brought no answer, answered later or not.
        totals: what became of every request.
    """

    run: Mapping[str, Any]
    answered: pd.DataFrame
    failures: tuple[Failure, ...]
    totals: RequestTotals


def observe(content: Content) -> Observations:
    """Reduce a record to one answer a review.

    Raises:
        RecordError: the record has no `run` line, or lines of more than one run.
    """
    run = run_of(content)
    requests = [event for event in content.events if event["event"] == "request"]
    counted, failures = _first_draws(content.events)
    if len(run["models"]) == 1:
        counted = first_answers(requests)
    truths, contradicted = truths_of(content.events)
    answered = table(
        counted.values(),
        {i: label for i, label in truths.items() if i not in contradicted},
        {e["id"]: e["rate"] for e in content.events if e["event"] == "truth" and "rate" in e},
    )
    states = feedback_states(content.events)
    of_requests = _totals_of_requests(requests, counted)
    totals = RequestTotals(
        **of_requests,
        interrupted=tuple(f.id for f in failures.values() if f.outcome == INTERRUPTED),
        unknown_errors=errors_of(None, failures.values()),
        late=tuple(answered.id[answered.late.astype(bool)]),
        unattributed=tuple(answered.id[answered.model.isna()]),
        contradicted=tuple(sorted(contradicted)),
        without_truth=int(answered.truth.isna().sum()),
        uncertain_feedback=tuple(i for i, state in states.items() if state in _UNCERTAIN),
        unsent=max(0, int(run["data"]["reviews"]) - of_requests["requests"]),
        unreadable=content.torn + len(content.damaged),
    )
    return Observations(run, answered, tuple(failures.values()), totals)


def table(
    lines: Iterable[Event], truths: Mapping[str, str], rates: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """Answers as rows.

    Args:
        lines: `request` lines with an answer.
        truths: label by id.
        rates: probability with which a truth was sought, by id; 1 where it is missing.

    Returns:
        The fields of `ab.events.Request`, indexed by id, and `right` (the truth was predicted;
        False without one), `score` of the predicted label, `rate`, `sent` (s since 1970, when the
        first try left) and `unit`: the request, which answers all its texts by one model.
    """
    import pandas as pd  # takes as long as the rest of `ab run`, which needs no table

    fields = [field.name for field in dataclasses.fields(Request)]
    answers = pd.DataFrame(list(lines), columns=fields, dtype=object)
    answers = (
        answers.where(answers.notna(), None).set_index("id", drop=False).rename_axis(index=None)
    )
    answers["truth"] = pd.Series({i: truths.get(i) for i in answers.id}, dtype=object)
    answers["right"] = [t == p for t, p in zip(answers.truth, answers.predicted, strict=True)]
    pairs = zip(answers.scores, answers.predicted, strict=True)
    answers["score"] = [float(scores[label]) for scores, label in pairs]
    answers["rate"] = [(rates or {}).get(i, 1.0) for i in answers.id]
    answers["unit"] = [i.partition("#")[0] for i in answers.id]
    # In the order of sending: the faster model's answers come first, which would bend the split.
    ended = pd.to_datetime(answers.time, format="ISO8601", utc=True).dt.as_unit("ms")
    answers["sent"] = ended.astype("int64") / 1000 - answers.waited_s.astype(float)
    return answers


def _totals_of_requests(requests: Sequence[Event], counted: Collection[str]) -> dict[str, Any]:
    answers = Counter(e["id"] for e in requests if e["outcome"] == Outcome.ANSWERED)
    outcomes = {e["id"]: e["outcome"] for e in requests}
    lost = tuple(i for i in outcomes if i not in answers)
    return {
        "requests": len(outcomes),
        "answered": len(counted),
        "retried": tuple(i for i in answers if i not in counted),
        "lost": lost,
        "errors": dict(Counter(outcomes[i] for i in lost)),
        "duplicated": tuple(i for i, count in answers.items() if count > 1),
        "repeated": tuple(dict.fromkeys(e["id"] for e in requests if e["repeated"])),
    }


def errors_of(model: str | None, failures: Iterable[Failure]) -> dict[str, int]:
    """How the first tries ended that failed at a model, by outcome; None: at an unknown one."""
    outcomes = (f.outcome for f in failures if f.model == model)
    return dict(Counter(outcome for outcome in outcomes if outcome != INTERRUPTED))


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


def first_answers(events: Iterable[Event]) -> dict[str, Event]:
    """The first line of each review that was answered."""
    first: dict[str, Event] = {}
    for event in events:
        if event["event"] == "request" and event["outcome"] == Outcome.ANSWERED:
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
            first = next(iter(event["failed"]), None)
            if first is not None:
                sent = datetime.datetime.fromisoformat(event["time"]).timestamp()
                sent -= event["waited_s"]
                failures[i] = Failure(i, first["model"], first["outcome"], sent)
            elif event["outcome"] == Outcome.ANSWERED:
                answered[i] = event
    return answered, failures


def truths_of(events: Iterable[Event]) -> tuple[dict[str, str], set[str]]:
    """The truth of each review, and the reviews with two different ones."""
    truths: dict[str, str] = {}
    contradicted = set()
    for event in events:
        label = {"request": event.get("truth"), "truth": event.get("label")}.get(event["event"])
        if label is not None and truths.setdefault(event["id"], label) != label:
            contradicted.add(event["id"])
    return truths, contradicted
