"""Opens record and endpoint, runs what is left, and closes both."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ab.attribution import Model
from ab.clock import SystemClock
from ab.data import file_fingerprint, read_reviews, shuffled
from ab.endpoint import Endpoint, parse_endpoint
from ab.errors import RecordError
from ab.events import Feedback as FeedbackLine
from ab.events import FeedbackState, Run, mark
from ab.observations import run_of
from ab.record import Content, Event, Journal, read_record
from ab.run.ask import Asker
from ab.run.feedback import FeedbackSender, Reward
from ab.run.plan import Task, check_same, plan
from ab.run.retry import Retries
from ab.run.runner import Pace, Progress, Runner
from ab.transport import Transport, connect


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What a run needs to know.

    Attributes:
        reviews: file of reviews.
        text_column, label_column: of that file; empty: found by their usual names.
        record: file of the record.
        endpoint: address.
        models: under test, in the order of the graph's children.
        router: node that chooses, or None.
        labels: names of the classes.
        pace: how fast to send.
        timeout_s: after which a try is given up.
        tries: of one message.
        seed: of the order.
        limit: reviews at most; None is all.
        feedback: whether truths are sent back.
        reward: sent with them.
        keep_texts: whether the record holds the texts.
        resume: go on with the record.
        retry_lost: when resuming, send again what had no answer.
        ports: model by the port of its node, where they are known.
    """

    reviews: Path
    text_column: str = ""
    label_column: str = ""
    record: Path
    endpoint: str
    models: Sequence[Model]
    router: str | None
    labels: Sequence[str]
    pace: Pace
    timeout_s: float
    tries: int
    seed: int
    limit: int | None
    feedback: bool
    reward: Reward
    keep_texts: bool
    resume: bool
    retry_lost: bool
    ports: Mapping[int, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Result:
    """How a session ended.

    Attributes:
        done: whether nothing is left to send.
        counts: requests by outcome, feedbacks by `feedback STATE`.
        gave_up: why the run stopped by itself; empty if it did not.
    """

    done: bool
    counts: Counter[str]
    gave_up: str


class Session:
    """A run that is about to go on.

    Args:
        options: of the run.

    Raises:
        ABError: a file, the record or an address is not what it must be.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self.endpoint: Endpoint = parse_endpoint(options.endpoint)
        reviews = read_reviews(
            options.reviews,
            options.labels,
            text_column=options.text_column,
            label_column=options.label_column,
        )
        self._reviews = shuffled(reviews, options.seed, options.limit)
        content = self._earlier()
        self._events: list[Event] = list(content.events) if content else []
        self._clock_stop = threading.Event()
        self._clock = SystemClock(self._clock_stop)
        run = self._line(uuid.uuid4().hex[:12])
        if content:
            recorded = run_of(content)
            check_same(recorded, run.event())
            run = dataclasses.replace(run, run=str(recorded["run"]))
        self.run = run
        self.tasks: list[Task] = plan(
            self._reviews,
            self._events,
            feedback=options.feedback,
            retry_lost=options.retry_lost,
        )

    def execute(self, progress: Progress) -> Result:
        """Do what is left; Ctrl-C and SIGTERM end it after the requests that are on their way."""
        transport = connect(self.endpoint, self._options.timeout_s)
        with Journal(self._options.record) as journal, stopping(self._clock_stop):
            try:
                self._begin(journal)
                runner = self._runner(journal, transport, progress)
                done = runner.run()
            finally:
                transport.close()
        return Result(done, runner.counts, runner.gave_up)

    def _runner(self, journal: Journal, transport: Transport, progress: Progress) -> Runner:
        options, retries = self._options, Retries(self._options.tries)
        asker = Asker(
            transport, self._clock, self._clock_stop, self.run.run, options.labels,
            options.models, options.router, retries, options.timeout_s, options.keep_texts,
            options.ports,
        )  # fmt: skip
        feedback = FeedbackSender(
            transport, journal, self._clock, self._clock_stop, options.models, options.router,
            retries, options.reward,
        )  # fmt: skip
        return Runner(
            self.tasks, asker, feedback if options.feedback else None, journal, self._clock,
            self._clock_stop, options.pace, progress,
        )  # fmt: skip

    def _earlier(self) -> Content | None:
        """The record so far; None for a new one."""
        path, resume = self._options.record, self._options.resume
        if not path.exists() or path.stat().st_size == 0:
            if resume:
                raise RecordError(f"{path.name} does not exist; there is nothing to resume")
            return None
        if not resume:
            raise RecordError(f"{path.name} exists; go on with --resume, or name another record")
        return read_record(path)

    def _line(self, name: str) -> Run:
        options = self._options
        return Run(
            run=name,
            time=self._clock.now(),
            endpoint=self.endpoint.url,
            data={
                "name": options.reviews.name,
                "sha256": file_fingerprint(options.reviews),
                "reviews": len(self._reviews),
            },
            labels=list(options.labels),
            models=[dataclasses.asdict(model) for model in options.models],
            router=options.router,
            seed=options.seed,
            rate=options.pace.rate,
            concurrency=options.pace.concurrency,
            timeout_s=options.timeout_s,
            tries=options.tries,
            feedback=options.feedback,
            keep_texts=options.keep_texts,
        )

    def _begin(self, journal: Journal) -> None:
        if not self._events:
            journal.append(self.run.event(), durable=True)
            return
        journal.append(mark("resumed", self._clock.now()))
        for line in close_open_feedback(self._events, self._clock.now()):
            journal.append(line)


def close_open_feedback(events: Sequence[Event], time: str) -> Iterator[Event]:
    """An `unknown` for each feedback that was on its way when the run ended."""
    last = {event["id"]: event for event in events if event["event"] == "feedback"}
    for event in last.values():
        if event["state"] == FeedbackState.SENDING:
            fields = {k: v for k, v in event.items() if k not in ("event", "time", "state")}
            fields["detail"] = "the run ended before the answer to this feedback came"
            yield FeedbackLine(time=time, state=FeedbackState.UNKNOWN, **fields).event()


@contextlib.contextmanager
def stopping(stop: threading.Event) -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM end the run in good order; a second one acts as ever."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, _: object) -> None:
        stop.set()
        signal.signal(number, earlier[signal.Signals(number)])

    for number in earlier:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
