"""One feedback: sent at most once, along the route that the answer took."""

from __future__ import annotations

import dataclasses

from ab.attribution import Graph
from ab.clock import Clock
from ab.events import Feedback, FeedbackState
from ab.record import Event, Journal
from ab.run.options import Reward
from ab.run.retry import pause_s
from ab.transport.reply import Outcome, Reply, Transport
from ab.wire import Answer, build_feedback

_NO_ROUTING = (
    "the answer has no meta.routing, so the feedback would go to every model; give the executor "
    "SELDON_ENABLE_ROUTING_INJECTION, or name the router"
)


@dataclasses.dataclass(frozen=True)
class FeedbackSender:
    """Sends truths back.

    `sending` is on the disk before a feedback leaves, so that whatever happens afterwards it is
    never sent a second time. It is tried again only after an end that says it was not executed.

    Attributes:
        transport: to the endpoint.
        journal: the record.
        clock: whose stop ends the tries of a feedback.
        graph: behind the endpoint.
        tries: of one feedback, at most.
        reward: sent with it.
    """

    transport: Transport
    journal: Journal
    clock: Clock
    graph: Graph
    tries: int
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
        if line["model"] not in self.graph.names:
            detail = f"no model is known to have answered: {line['by']}"
            return self._end(entry, FeedbackState.WITHHELD, detail=detail)
        routing = self.graph.route_to(line["model"], line["routing"])
        if routing is None:
            return self._end(entry, FeedbackState.WITHHELD, detail=_NO_ROUTING)
        self.journal.append(entry.event(), durable=True)
        state, reply = self._try(
            build_feedback(_answer_in(line), truth, entry.reward, text, routing, line["puid"])
        )
        return self._end(entry, state, reply.status, reply.detail)

    def _try(self, message: dict[str, object]) -> tuple[FeedbackState, Reply]:
        tries = 0
        while True:
            reply = self.transport.feedback(message)
            tries += 1
            if reply.outcome is Outcome.ANSWERED:
                return FeedbackState.ANSWERED, reply
            if reply.may_have_run:
                return FeedbackState.UNKNOWN, reply
            pause = pause_s(self.tries, tries, reply)
            if pause is None or self.clock.stop.is_set():
                return FeedbackState.REFUSED, reply
            self.clock.sleep(pause)

    def _end(
        self, entry: Feedback, state: FeedbackState, status: str = "", detail: str = ""
    ) -> FeedbackState:
        ended = dataclasses.replace(
            entry, time=self.clock.now(), state=state, status=status, detail=detail
        )
        self.journal.append(ended.event(), durable=True)
        return state


def _answer_in(line: Event) -> Answer:
    """The answer that a request line holds."""
    return Answer(
        names=tuple(line["scores"]),
        scores=tuple(line["scores"].values()),
        path=line["path"],
        routing=line["routing"],
        tags=line["tags"],
    )
