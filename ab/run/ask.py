"""One prediction: sent until it is answered or given up. The endpoint draws for every try."""

from __future__ import annotations

import dataclasses
from typing import Any

from ab.clock import Clock
from ab.data import UNIT, Review, features, fingerprint
from ab.events import BAD_ANSWER, FailedTry, Request
from ab.run.options import Options
from ab.run.retry import pause_s
from ab.transport.reply import Outcome, Reply, Transport
from ab.wire import Answer, BadAnswer, build_request, read_answer


@dataclasses.dataclass(frozen=True)
class PredictionSender:
    """Sends reviews and reads the answers.

    Attributes:
        transport: to the endpoint.
        clock: whose stop ends the tries of a request.
        run: its name, part of every puid.
        options: of the run.
    """

    transport: Transport
    clock: Clock
    run: str
    options: Options

    def ask(self, review: Review, lag_s: float, rounds: int = 0) -> Request | None:
        """Send a review until it is answered or given up.

        Args:
            review: to send.
            lag_s: how much later than planned it is.
            rounds: how often it has been sent in earlier sessions of the run.

        Returns:
            What to record; None when the run was stopped before any try reached the endpoint.
        """
        reply, answer, tries = self._try(review, rounds)
        if answer is None and not tries["failed"] and self.clock.stop.is_set():
            return None
        found = self.options.graph.attribute(answer) if answer else None
        return Request(
            time=self.clock.now(),
            id=review.id,
            sha256=fingerprint(review.text),
            text=review.text if self.options.keep_texts else None,
            truth=review.label,
            outcome=_outcome(reply, answer),
            status=reply.status,
            detail=reply.detail,
            lag_s=round(lag_s, 6),
            model=found.model if found else None,
            by=found.by if found else "",
            features=features(review.text),
            request_tags=_tags(review),
            **tries,
            **(answer.recorded if answer else {}),
        )

    def _try(self, review: Review, rounds: int) -> tuple[Reply, Answer | None, dict[str, Any]]:
        """The end of the last try, its answer, and the fields of the line about all of them."""
        began, tries, repeated = self.clock.monotonic(), 0, 0
        failed: list[FailedTry] = []
        while True:
            puid = self._puid(review, rounds, tries)
            start = self.clock.monotonic()
            sent = self.transport.predict(build_request(review.text, puid, _tags(review)))
            reply, answer = self._read(sent, puid)
            end = self.clock.monotonic()
            tries += 1
            if answer is None and reply.may_have_drawn:
                failed.append(self._failed(reply, puid))
            pause = None if answer else pause_s(self.options.tries, tries, reply)
            if pause is not None:
                self.clock.sleep(pause)
            if pause is None or self.clock.stop.is_set():
                break
            repeated += reply.may_have_run
        return reply, answer, {
            "puid": puid, "failed": failed, "tries": tries, "repeated": repeated,
            "latency_s": round(end - start, 6) if answer else None,
            "waited_s": round(end - began, 6),
            "late": answer is not None and end - began > self.options.timeout_s,
        }  # fmt: skip

    def _puid(self, review: Review, rounds: int, tries: int) -> str:
        """A name for each try, so that a log can distinguish them."""
        name = f"{self.run}-{review.id}"
        return f"{name}.{rounds + 1}.{tries + 1}" if rounds or tries else name

    def _failed(self, reply: Reply, puid: str) -> FailedTry:
        return {
            "outcome": _outcome(reply, None),
            "status": reply.status,
            "detail": reply.detail,
            "model": self.options.graph.model_of_failure(reply, puid),
        }

    def _read(self, reply: Reply, puid: str) -> tuple[Reply, Answer | None]:
        """The answer in a reply. One that can't be counted is as if the connection had broken."""
        if reply.outcome is not Outcome.ANSWERED:
            return reply, None
        try:
            return reply, read_answer(
                reply.message, self.options.labels, puid, self.options.label_map
            )
        except BadAnswer as error:
            self.transport.disconnect()
            return dataclasses.replace(reply, outcome=Outcome.CUT, detail=str(error)), None


def _tags(review: Review) -> dict[str, str]:
    return {UNIT: review.unit} if review.unit else {}


def _outcome(reply: Reply, answer: Answer | None) -> str:
    damaged = answer is None and reply.outcome is Outcome.CUT and bool(reply.message)
    return BAD_ANSWER if damaged else str(reply.outcome)
