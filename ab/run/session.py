"""Opens record and endpoint, runs what is left, and closes both."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence

from ab.clock import Clock
from ab.data import file_fingerprint, read_reviews, shuffled
from ab.endpoint import Endpoint, parse_endpoint
from ab.errors import RecordError
from ab.events import Feedback as FeedbackLine
from ab.events import FeedbackState, Run, mark
from ab.observations import run_of
from ab.record import Content, Event, Journal, read_record
from ab.run.ask import PredictionSender
from ab.run.feedback import FeedbackSender
from ab.run.options import Options
from ab.run.runner import OnProgress, Runner
from ab.run.tasks import check_same, tasks_left
from ab.transport import connect
from ab.transport.reply import Transport


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
        SentimentError: a file, the record or an address is not what it must be.
    """

    def __init__(self, options: Options) -> None:
        self.endpoint: Endpoint = parse_endpoint(options.endpoint, options.headers)
        if self.endpoint.model is not None:
            options = dataclasses.replace(options, feedback=False)
        self._options = options
        reviews = read_reviews(
            options.reviews,
            options.labels,
            text_column=options.text_column,
            label_column=options.label_column,
            label_map=options.label_map,
        )
        self._reviews = shuffled(reviews, options.seed, options.limit)
        content = self._earlier()
        self._events: Sequence[Event] = content.events if content else ()
        self._clock = Clock()
        self.run = self._line(uuid.uuid4().hex[:12])
        if content:
            recorded = run_of(content)
            check_same(recorded, self.run.event())
            self.run = dataclasses.replace(self.run, run=str(recorded["run"]))
        self.tasks = tasks_left(
            self._reviews, self._events, feedback=options.feedback, retry_lost=options.retry_lost
        )

    def stop(self) -> None:
        """End the run after its running requests, as Ctrl-C does."""
        self._clock.stop.set()

    def execute(self, on_progress: OnProgress) -> Result:
        """Do what is left; Ctrl-C and SIGTERM end it after the running requests."""
        options = self._options
        with (
            Journal(options.record) as journal,
            stopping(self._clock.stop),
            contextlib.closing(connect(self.endpoint, options.timeout_s)) as transport,
        ):
            self._begin(journal)
            runner = self._runner(journal, transport, on_progress)
            done = runner.run()
        return Result(done, runner.counts, runner.gave_up)

    def _runner(self, journal: Journal, transport: Transport, on_progress: OnProgress) -> Runner:
        options = self._options
        sender = PredictionSender(transport, self._clock, self.run.run, options)
        feedback = FeedbackSender(
            transport, journal, self._clock, options.graph, options.tries, options.reward
        )
        return Runner(
            self.tasks, sender, feedback if options.feedback else None, journal, on_progress
        )

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
            models=[dataclasses.asdict(model) for model in options.graph.models],
            router=options.graph.router,
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
    """An `unknown` for each feedback whose answer was still due when the run ended."""
    last = {event["id"]: event for event in events if event["event"] == "feedback"}
    for event in last.values():
        if event["state"] == FeedbackState.SENDING:
            fields = {k: v for k, v in event.items() if k not in ("event", "time", "state")}
            fields["detail"] = "the run ended before the answer to this feedback came"
            yield FeedbackLine(time=time, state=FeedbackState.UNKNOWN, **fields).event()


@contextlib.contextmanager
def stopping(stop: threading.Event) -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM end the run cleanly; a second one acts as usual."""
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
