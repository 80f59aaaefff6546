"""Asks two endpoints for every text."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from ab.attribution import Graph, Model
from ab.clock import Clock
from ab.compare.answers import ModelAnswers
from ab.data import Review
from ab.endpoint import parse_endpoint
from ab.errors import AnalysisError
from ab.events import Request
from ab.observations import Observation, observation
from ab.run.ask import Asker
from ab.run.retry import Retries
from ab.transport.connect import connect
from ab.transport.reply import Outcome

GIVE_UP_AFTER = 20
"""Texts in a row without an answer, after which an endpoint is taken for dead."""


@dataclasses.dataclass(frozen=True)
class AskOptions:
    """How to ask.

    Attributes:
        labels: that an answer must name.
        timeout_s: after which a try is given up.
        tries: of one text, at most.
        concurrency: texts at once.
    """

    labels: Sequence[str]
    timeout_s: float
    tries: int
    concurrency: int


class EndpointClient:
    """One endpoint and its answers so far.

    Args:
        url: of the endpoint.
        options: how to ask.
        clock: whose stop ends the tries.
    """

    def __init__(self, url: str, options: AskOptions, clock: Clock) -> None:
        endpoint = parse_endpoint(url)
        self.url = endpoint.url
        self.answers: dict[str, Observation] = {}
        self.names: collections.Counter[str] = collections.Counter()
        self._transport = connect(endpoint, options.timeout_s)
        self._asker = Asker(
            transport=self._transport,
            clock=clock,
            graph=Graph((Model(endpoint.url, 1.0),)),
            run=uuid.uuid4().hex[:12],
            labels=options.labels,
            retries=Retries(options.tries),
            timeout_s=options.timeout_s,
            keep_texts=True,
        )
        self._unanswered_in_a_row = 0
        self._lock = threading.Lock()

    def ask(self, review: Review) -> None:
        """Ask for one text.

        Raises:
            AnalysisError: too many texts in a row got no answer.
        """
        request = self._asker.ask(review, 0.0)
        if request is not None:
            with self._lock:
                self._keep(request)

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def result(self, name: str | None, reviews: Sequence[Review]) -> ModelAnswers:
        """The answers, in the order of the reviews.

        Args:
            name: of the model; None takes what the answers say.
            reviews: that were sent.

        Raises:
            AnalysisError: several models answered.
        """
        if len(self.names) > 1 and name is None:
            raise AnalysisError(
                f"at {self.url} several models answer ({', '.join(self.names)}); "
                "give an endpoint of one model, such as the service of its predictor"
            )
        in_order = {r.id: self.answers[r.id] for r in reviews if r.id in self.answers}
        return ModelAnswers(name or next(iter(self.names), "") or "model", in_order)

    def _keep(self, request: Request) -> None:
        if request.outcome == Outcome.ANSWERED:
            self._unanswered_in_a_row = 0
            self.answers[request.id] = observation(request.event(), request.truth)
            self.names[request.tags.get("model_name") or " ".join(request.path)] += 1
            return
        self._unanswered_in_a_row += 1
        if self._unanswered_in_a_row >= GIVE_UP_AFTER:
            raise AnalysisError(
                f"{self.url} left {self._unanswered_in_a_row} texts in a row without an answer; "
                f"the last ended with {request.outcome} {request.status} {request.detail}".rstrip()
            )


def ask_endpoints(
    urls: tuple[str, str],
    names: tuple[str | None, str | None],
    reviews: Sequence[Review],
    options: AskOptions,
    on_progress: Callable[[], None],
) -> tuple[ModelAnswers, ModelAnswers]:
    """Ask both endpoints for every review, in turn first and second.

    Args:
        urls: of the endpoints.
        names: of the models; None takes what the answers say.
        reviews: to send.
        options: how to ask.
        on_progress: called after each review.

    Raises:
        EndpointError: an address can't be understood.
        AnalysisError: an endpoint does not answer, or several models answer there.
    """
    clock = Clock()
    with contextlib.ExitStack() as stack:
        a, b = (
            stack.enter_context(contextlib.closing(EndpointClient(url, options, clock)))
            for url in urls
        )
        for _ in _ask_all((a, b), reviews, options.concurrency, clock.stop):
            on_progress()
    return a.result(names[0], reviews), b.result(names[1], reviews)


def _ask_all(
    clients: Sequence[EndpointClient],
    reviews: Sequence[Review],
    concurrency: int,
    stop: threading.Event,
) -> Iterator[None]:
    """Yield after each review."""

    def ask(number: int, review: Review) -> None:
        for client in clients if number % 2 == 0 else reversed(clients):
            if not stop.is_set():
                client.ask(review)

    with ThreadPoolExecutor(concurrency) as pool:
        futures = [pool.submit(ask, i, review) for i, review in enumerate(reviews)]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
