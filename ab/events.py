"""The events of a record: what each line means. `ab.record` writes and reads the lines.

run        first line: what is tested and how; its settings hold for the whole record
resumed    the run went on after a stop
sent       a review is about to be sent; without a `request` behind it the run was killed meanwhile
withdrawn  the run was stopped before the review sent last had reached the endpoint
request    one request has ended, answered or given up; one line a review
feedback   `sending` before a feedback leaves, then a second line that says how it ended
truth      the truth of a review, when it came after the answer
stopped    the run was interrupted
finished   nothing is left to send
recovered  the line before was cut short by a crash (written by `ab.record.Journal`)

Every event has `event` and, but for `recovered`, `time` (UTC, ISO 8601).
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from typing import Any

from ab.record import FORMAT, Event

BAD_ANSWER = "bad answer"
"""Outcome of a request whose answer can't be counted; the others are in `ab.transport.reply`."""

INTERRUPTED = "interrupted"
"""Outcome of a try during which the run was killed; its outcome is unknown."""


FailedTry = Mapping[str, str | None]
"""`outcome`, `status`, `detail` and `model` of a try that brought no answer."""


class FeedbackState(enum.StrEnum):
    """How far a feedback got. Only `sending` is followed by another line."""

    SENDING = "sending"
    ANSWERED = "answered"
    """The endpoint took it: it is counted once."""
    UNKNOWN = "unknown"
    """No clear answer: it may have been counted, and is never sent again."""
    REFUSED = "refused"
    """It was not executed, and no tries were left."""
    WITHHELD = "withheld"
    """Not sent, because no route leads it to the model that answered."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """The first line of a record.

    Attributes:
        run: unique name of the run; part of every puid.
        endpoint: where requests went; empty when others sent them.
        data: `name` and `sha256` of the file of reviews, and `reviews`, how many will be sent.
        labels: names of the classes.
        models: `name` and `share` of each model, in the order of the graph's children.
        router: graph node that chooses; None when the answers name it.
        seed: of the order.
        rate: requests a second; 0 is as fast as possible.
        concurrency: requests at once.
        timeout_s: after which a try is given up, and from which an answer is late.
        tries: of one prediction, at most.
        feedback: whether truths are sent back.
        keep_texts: whether request lines hold the text.
        sampled: part of the requests that a log holds, by model; empty where it holds all. The
            shares of the models are those in the log.
    """

    run: str
    time: str
    endpoint: str
    data: Mapping[str, object]
    labels: Sequence[str]
    models: Sequence[Mapping[str, object]]
    router: str | None
    seed: int = 0
    rate: float = 0.0
    concurrency: int = 0
    timeout_s: float = 0.0
    tries: int = 1
    feedback: bool = False
    keep_texts: bool
    sampled: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def event(self) -> Event:
        """The line."""
        return {"event": "run", "format": FORMAT, **dataclasses.asdict(self)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """One request, ended.

    Attributes:
        id: of the review.
        puid: of the last try; each try has another, and its answer must carry it.
        sha256: of the text.
        text: the review, if the run keeps texts.
        truth: label; None when it is not known yet.
        outcome: `answered`, `bad answer`, or how the last try failed (`Outcome`).
        status: HTTP status or gRPC code of the last try.
        detail: what went wrong, for people.
        tries: how often it was sent.
        repeated: tries before the last that the endpoint may have executed: it then answered the
            same text more than once.
        failed: every try that reached the endpoint and brought no answer, in order. The endpoint
            draws a model for each try, so an answer after a failed one may be another model's.
        late: the answer came later than `timeout_s` after the first try.
        lag_s: from the planned moment to the first try, s.
        latency_s: of the try that was answered, s; None without an answer.
        waited_s: from the first try to the end, s.
        model: that answered; None when nothing says it.
        by: what says so, or why nothing does.
        predicted: label with the highest score; None without an answer.
        scores: probability by label.
        routing: `meta.routing` of the answer.
        path: `meta.requestPath` of the answer.
        tags: model name, version and precision of the answer.
        truncated: whether the model saw only a part of the text; None where it does not say.
        features: of the text, see `ab.data.features`.
        request_tags: `meta.tags` of the request, such as a user's key.
    """

    time: str
    id: str
    puid: str
    sha256: str
    text: str | None
    truth: str | None = None
    outcome: str
    status: str = ""
    detail: str = ""
    tries: int = 1
    repeated: int = 0
    late: bool = False
    lag_s: float = 0.0
    latency_s: float | None
    waited_s: float
    model: str | None = None
    by: str = ""
    predicted: str | None = None
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)
    routing: Mapping[str, int] = dataclasses.field(default_factory=dict)
    path: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)
    truncated: bool | None = None
    features: Mapping[str, float] = dataclasses.field(default_factory=dict)
    request_tags: Mapping[str, str] = dataclasses.field(default_factory=dict)
    failed: Sequence[FailedTry] = ()

    def event(self) -> Event:
        """The line."""
        fields: dict[str, Any] = {**dataclasses.asdict(self), "failed": list(self.failed)}
        if self.text is None:
            del fields["text"]
        return {"event": "request", **fields}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Feedback:
    """One step of a feedback.

    Attributes:
        id: of the review.
        state: how far it got.
        model: whose answer it is about.
        truth: label.
        predicted: label.
        reward: sent with it.
        status: HTTP status or gRPC code.
        detail: what went wrong, for people.
    """

    time: str
    id: str
    state: FeedbackState
    model: str | None
    truth: str
    predicted: str
    reward: float
    status: str = ""
    detail: str = ""

    def event(self) -> Event:
        """The line."""
        return {"event": "feedback", **dataclasses.asdict(self), "state": str(self.state)}


def truth(time: str, identity: str, label: str, rate: float | None = None) -> Event:
    """A truth that came after the answer; `rate` is the probability with which it was sought."""
    line = {"event": "truth", "time": time, "id": identity, "label": label}
    return line if rate is None else {**line, "rate": rate}


def mark(kind: str, time: str, **fields: str) -> Event:
    """`resumed`, `stopped` or `finished`; `sent` or `withdrawn` with the `id` of the review."""
    return {"event": kind, "time": time, **fields}
