"""One feedback: sent at most once, along the route that the answer took."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping, Sequence

from ab.attribution import Model
from ab.clock import Clock
from ab.events import Feedback, FeedbackState
from ab.record import Event, Journal
from ab.run.retry import Retries
from ab.transport import Outcome, Reply, Transport
from ab.wire import Answer, build_feedback


@dataclasses.dataclass(frozen=True)
class Reward:
    """What a model gets for an answer; a plain Seldon wrapper does not count a 0."""

    right: float = 1.0
    wrong: float = 0.0


@dataclasses.dataclass(frozen=True)
class FeedbackSender:
    """Sends truths back.

    `sending` is on the disk before a feedback leaves, so that whatever happens afterwards it is
    never sent a second time. It is tried again only after an end that says it was not executed.

    Attributes:
        transport: way to the endpoint.
        journal: the record.
        clock: tells the time.
        stop: ends the tries of a feedback.
        models: under test, in the order of the graph's children.
        router: node that chooses, or None.
        retries: how often to try.
        reward: sent with it.
    """

    transport: Transport
    journal: Journal
    clock: Clock
    stop: threading.Event
    models: Sequence[Model]
    router: str | None
    retries: Retries
    reward: Reward

    def send(self, line: Event, truth: str, text: str | None) -> FeedbackState:
        """Send the truth of one answer, and record both steps.

        Args:
            line: the request as recorded, with an answer.
            truth: label.
            text: of the review, when it is known.
        """
        right = line["predicted"] == truth
        entry = Feedback(
            time=self.clock.now(),
            id=line["id"],
            state=FeedbackState.SENDING,
            model=line["model"],
            truth=truth,
            predicted=line["predicted"],
            reward=self.reward.right if right else self.reward.wrong,
        )
        routing = find_route(line, self.models, self.router)
        if isinstance(routing, str):
            return self._end(entry, FeedbackState.WITHHELD, Reply(Outcome.REJECTED, detail=routing))
        message = build_feedback(answer_in(line), truth, entry.reward, text, routing, line["puid"])
        self.journal.append(entry.event(), durable=True)
        tried = 0
        while True:
            reply = self.transport.feedback(message)
            tried += 1
            if reply.outcome is Outcome.ANSWERED:
                return self._end(entry, FeedbackState.ANSWERED, reply)
            if reply.may_have_run:
                return self._end(entry, FeedbackState.UNKNOWN, reply)
            pause = self.retries.pause_s(tried, reply)
            if pause is None or self.stop.is_set():
                return self._end(entry, FeedbackState.REFUSED, reply)
            self.clock.sleep(pause)

    def _end(self, entry: Feedback, state: FeedbackState, reply: Reply) -> FeedbackState:
        ended = dataclasses.replace(
            entry, time=self.clock.now(), state=state, status=reply.status, detail=reply.detail
        )
        self.journal.append(ended.event(), durable=True)
        return state


def find_route(line: Event, models: Sequence[Model], router: str | None) -> Mapping[str, int] | str:
    """The routing that leads feedback to the model that answered, or why there is none.

    Without a routing Seldon's executor gives feedback to every child of a router.
    """
    names = [model.name for model in models]
    if line["model"] not in names:
        return f"no model is known to have answered: {line['by']}"
    routing: dict[str, int] = dict(line["routing"])
    if router is not None:
        return {**routing, router: names.index(line["model"])}
    if len(models) == 1 or any(index >= 0 for index in routing.values()):
        return routing
    return (
        "the answer has no meta.routing, so the feedback would go to every model; give the "
        "executor SELDON_ENABLE_ROUTING_INJECTION, or name the router"
    )


def answer_in(line: Event) -> Answer:
    """The answer that a request line holds."""
    return Answer(
        names=tuple(line["scores"]),
        scores=tuple(line["scores"].values()),
        path=line["path"],
        routing=line["routing"],
        tags=line["tags"],
    )
