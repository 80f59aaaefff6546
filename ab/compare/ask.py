"""Asks two endpoints for every text."""

from __future__ import annotations

import collections
import dataclasses
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from ab.attribution import Model
from ab.clock import SystemClock
from ab.compare.side import Said, Side, said_in
from ab.data import Review
from ab.endpoint import parse_endpoint
from ab.errors import AnalysisError
from ab.events import Request
from ab.run.ask import Asker
from ab.run.retry import Retries
from ab.transport import Outcome, Transport, connect

GIVE_UP_AFTER = 20
"""Texts in a row without an answer, after which an endpoint is taken for dead."""

Progress = Callable[[], None]


@dataclasses.dataclass(frozen=True)
class Asking:
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


class _Teller:
    """One endpoint and what it has said so far."""

    def __init__(self, url: str, run: str, asking: Asking, stop: threading.Event) -> None:
        self.endpoint = parse_endpoint(url)
        self.transport: Transport = connect(self.endpoint, asking.timeout_s)
        self._asker = Asker(
            self.transport, SystemClock(stop), stop, run, asking.labels,
            (Model(self.endpoint.url, 1.0),), None, Retries(asking.tries), asking.timeout_s, True,
        )  # fmt: skip
        self.said: dict[str, Said] = {}
        self.lost: list[str] = []
        self.names: collections.Counter[str] = collections.Counter()
        self._silent = 0
        self._lock = threading.Lock()

    def ask(self, review: Review) -> None:
        """Ask for one text.

        Raises:
            AnalysisError: nothing has come back for too long.
        """
        request = self._asker.ask(review, 0.0)
        if request is not None:
            with self._lock:
                self._keep(request, review.label)

    def _keep(self, request: Request, truth: str | None) -> None:
        if request.outcome == Outcome.ANSWERED:
            self._silent = 0
            self.said[request.id] = said_in(request.event(), truth)
            self.names[request.tags.get("model_name") or " ".join(request.path)] += 1
            return
        self._silent += 1
        self.lost.append(request.id)
        if self._silent >= GIVE_UP_AFTER:
            raise AnalysisError(
                f"{self.endpoint.url} left {self._silent} texts in a row without an answer; "
                f"the last ended with {request.outcome} {request.status} {request.detail}".rstrip()
            )


def of_endpoints(
    urls: tuple[str, str],
    names: tuple[str | None, str | None],
    reviews: Sequence[Review],
    asking: Asking,
    progress: Progress,
) -> tuple[Side, Side]:
    """Ask both endpoints for every review, in turn first and second.

    Args:
        urls: of the endpoints.
        names: of the models; None takes what the answers say.
        reviews: to send.
        asking: how.
        progress: called after each review.

    Raises:
        EndpointError: an address can't be understood.
        AnalysisError: an endpoint does not answer, or several models answer there.
    """
    stop, run = threading.Event(), uuid.uuid4().hex[:12]
    tellers = [_Teller(url, run, asking, stop) for url in urls]
    try:
        _ask_all(tellers, reviews, asking.concurrency, progress, stop)
    finally:
        for teller in tellers:
            teller.transport.close()
    first, second = (_side(t, n, reviews) for t, n in zip(tellers, names, strict=True))
    return first, second


def _ask_all(
    tellers: Sequence[_Teller],
    reviews: Sequence[Review],
    concurrency: int,
    progress: Progress,
    stop: threading.Event,
) -> None:
    def ask(place: int, review: Review) -> None:
        for teller in tellers if place % 2 == 0 else reversed(tellers):
            if not stop.is_set():
                teller.ask(review)

    with ThreadPoolExecutor(concurrency) as pool:
        futures = [pool.submit(ask, i, review) for i, review in enumerate(reviews)]
        try:
            for future in as_completed(futures):
                future.result()
                progress()
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def _side(teller: _Teller, name: str | None, reviews: Sequence[Review]) -> Side:
    if len(teller.names) > 1 and name is None:
        raise AnalysisError(
            f"at {teller.endpoint.url} several models answer ({', '.join(teller.names)}); "
            "give an endpoint of one model, such as its predictor's own service"
        )
    in_order = {r.id: teller.said[r.id] for r in reviews if r.id in teller.said}
    return Side(name or next(iter(teller.names), "") or "model", in_order, tuple(teller.lost))
