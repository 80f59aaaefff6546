"""Works through the tasks of a run with several requests at once, at a given rate."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from ab.events import mark
from ab.record import Event, Journal
from ab.run.ask import PredictionSender
from ab.run.feedback import FeedbackSender
from ab.run.tasks import Task
from ab.transport.reply import Outcome

RETRIED = "answered at a later try"
"""Counted apart from `answered`."""

OnProgress = Callable[[Counter[str]], None]
"""Called after each task with the counts so far."""


class Runner:
    """Works through tasks.

    Args:
        tasks: what is left to do.
        sender: sends predictions; the stop of its clock ends the session early.
        feedback: sends truths; None sends none.
        journal: the record.
        on_progress: called after each task.

    Attributes:
        counts: requests by outcome, feedbacks by `feedback STATE`.
        gave_up: why the session stopped by itself; empty if it did not.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        sender: PredictionSender,
        feedback: FeedbackSender | None,
        journal: Journal,
        on_progress: OnProgress,
    ) -> None:
        self._tasks = iter(enumerate(tasks))
        self._sender, self._feedback, self._journal = sender, feedback, journal
        self._clock, self._stop = sender.clock, sender.clock.stop
        self._pace, self._on_progress = sender.options.pace, on_progress
        self._lock = threading.Lock()
        self._lost_in_a_row = 0
        self.counts: Counter[str] = Counter()
        self.gave_up = ""

    def run(self) -> bool:
        """Do the tasks.

        Returns:
            Whether all are done; otherwise the run was stopped, and the record says so.
        """
        self._start = self._clock.monotonic()
        with ThreadPoolExecutor(self._pace.concurrency) as pool:
            workers = [pool.submit(self._work) for _ in range(self._pace.concurrency)]
        for worker in workers:
            worker.result()
        stopped = self._stop.is_set()
        self._journal.append(mark("stopped" if stopped else "finished", self._clock.now()))
        return not stopped

    def _work(self) -> None:
        try:
            for number, task in self._remaining():
                lag_s = self._wait_for(number)
                if self._stop.is_set():
                    return
                self._do(task, lag_s)
        except BaseException:
            self._stop.set()
            raise

    def _remaining(self) -> Iterator[tuple[int, Task]]:
        while not self._stop.is_set():
            with self._lock:
                item = next(self._tasks, None)
            if item is None:
                return
            yield item

    def _wait_for(self, number: int) -> float:
        """Wait for the planned moment; return by how much it has been missed, s."""
        if not self._pace.rate:
            return 0.0
        due = self._start + number / self._pace.rate
        self._clock.sleep(due - self._clock.monotonic())
        return max(0.0, self._clock.monotonic() - due)

    def _do(self, task: Task, lag_s: float) -> None:
        line = task.line or self._ask(task, lag_s)
        if line is None:
            return
        truth = task.review.label
        if self._feedback and truth and line["outcome"] == Outcome.ANSWERED:
            state = self._feedback.send(line, truth, task.review.text)
            with self._lock:
                self.counts[f"feedback {state}"] += 1
        with self._lock:
            self._on_progress(self.counts)

    def _ask(self, task: Task, lag_s: float) -> Event | None:
        """Send a review, with a line before and one behind it."""
        identity = task.review.id
        self._journal.append(mark("sent", self._clock.now(), id=identity))
        ended = self._sender.ask(task.review, lag_s, task.rounds)
        if ended is None:
            self._journal.append(mark("withdrawn", self._clock.now(), id=identity))
            return None
        line = ended.event()
        self._journal.append(line)
        retried = ended.outcome == Outcome.ANSWERED and bool(ended.failed)
        self._count(ended.outcome, ended.detail, RETRIED if retried else ended.outcome)
        return line

    def _count(self, outcome: str, detail: str, name: str) -> None:
        with self._lock:
            self.counts[name] += 1
            self._lost_in_a_row = 0 if outcome == Outcome.ANSWERED else self._lost_in_a_row + 1
            limit = self._pace.give_up_after
            if limit and self._lost_in_a_row >= limit and not self._stop.is_set():
                self.gave_up = f"{limit} requests in a row had no answer; the last: {detail}"
                self._stop.set()
