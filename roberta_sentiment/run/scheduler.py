"""One model for many callers: what waits together runs together.

A sequence that comes while nothing runs is run by its caller with all threads: it waits for nobody.
What comes meanwhile waits. Threads of the scheduler take it in batches that run side by side, each
on one CPU: such runs need no barrier after every operator, and answer up to half as many requests
more.

Those threads yield the CPU to others, which read requests and write answers. That takes a moment
only, and who is read in it joins the next batch.
"""

from __future__ import annotations

import atexit
import bisect
import contextlib
import dataclasses
import math
import os
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence

import numpy as np

from roberta_sentiment.caller import Caller
from roberta_sentiment.errors import (
    DroppedError,
    InferenceError,
    NotReadyError,
    OverloadedError,
    SentimentError,
)
from roberta_sentiment.run import batching
from roberta_sentiment.run.session import Logits, Session

_FIRST_GUESS = 2_000.0
"""Tokens a second, before anything was measured."""
_MEMORY = 0.9
"""Weight of the past in the measured speed."""
_NICENESS = 5
"""Of the threads that run batches, on top of the process's own."""


@dataclasses.dataclass(frozen=True)
class RunStats:
    """What answering one caller took.

    Attributes:
        batches, padding: runs of the model and tokens of padding that this caller began; those
            that others began are counted with them.
        queue_s: seconds without a run that held a sequence of this caller.
        infer_s: seconds of the runs that held one, added up.
    """

    batches: int
    padding: int
    queue_s: float
    infer_s: float


class _Job:
    """All sequences of one call."""

    def __init__(self, sequences: Sequence[Sequence[int]], classes: int, caller: Caller) -> None:
        self.sequences = sequences
        self.caller = caller
        self.logits = np.empty((len(sequences), classes), dtype=np.float32)
        self.left = len(sequences)
        self.queued: list[_Item] = []
        """Those that wait, sorted."""
        self.error: SentimentError | None = None
        self.done: queue.SimpleQueue[None] = queue.SimpleQueue()
        """Told once or more; an Event would cost several times as much."""
        self.batches = self.padding = 0
        self.infer_s = 0.0


_Item = tuple[int, int, int, _Job]
"""Length, minus the job's number, position in the job, job: sorted by length, the newest first."""


class Scheduler:
    """Runs sequences of concurrent callers on one session; its threads do not survive a fork.

    Args:
        session: the model, all threads for one run.
        parallel_session: the same, one thread a run; without it runs never go side by side.
        max_parallel_runs: runs of `parallel_session` side by side.
        classes: width of its output.
        pad_id: id of the padding token.
        budget: most tokens in a batch, padding included; a longer sequence runs alone.
        max_queue: most callers that may wait. The last quarter is kept for small callers, each
            with no more than its share of `max_queue_tokens`.
        max_queue_tokens: most tokens that may wait; one call may exceed it if nothing waits, and a
            small caller always may.
        one_per_batch: no two sequences share a batch.
    """

    def __init__(
        self,
        session: Session,
        *,
        parallel_session: Session | None = None,
        max_parallel_runs: int = 1,
        classes: int,
        pad_id: int,
        budget: int,
        max_queue: int,
        max_queue_tokens: int,
        one_per_batch: bool = False,
    ) -> None:
        self._session = session
        self._parallel_session = parallel_session or session
        self._slots = max_parallel_runs if parallel_session else 1
        self._free_slots = self._slots
        self._classes = classes
        self._pad_id = pad_id
        self._budget = budget
        self._max_queue = max_queue
        self._max_queue_tokens = max_queue_tokens
        self._small = max_queue_tokens // max_queue
        self._most = 1 if one_per_batch else None
        self._lock = threading.Lock()
        self._queue_cv = threading.Condition(self._lock)
        self._items: list[_Item] = []
        self._rotation: deque[_Job] = deque()
        self._waiting: set[_Job] = set()
        self._jobs = 0
        self._tokens = 0
        self._speed = _FIRST_GUESS
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"roberta-run-{number}", daemon=True)
            for number in range(self._slots)
        ]
        for thread in self._threads:
            thread.start()
        # A thread that is still inside ONNX Runtime when the interpreter ends aborts the process.
        atexit.register(self.close)

    def close(self) -> None:
        """Refuse whoever waits or comes, and end the threads when their runs are over."""
        with self._lock:
            self._closed = True
            for job in list(self._waiting):
                self._fail(job, _closed_error())
            self._queue_cv.notify_all()
        for thread in self._threads:
            thread.join()

    def refuse_overload(self) -> None:
        """Refuse a caller for whom there is no room, before anything is done for it.

        Raises:
            OverloadedError: too many callers wait already.
        """
        with self._lock:
            self._refuse_callers(0)

    def run(
        self, sequences: Sequence[Sequence[int]], caller: Caller | None = None
    ) -> tuple[Logits, RunStats]:
        """Run all sequences of one caller.

        Args:
            sequences: n sequences of token ids, n at least 1.
            caller: what of it still waits is dropped when this caller has gone.

        Returns:
            (n, classes) float32 logits in the order of the sequences, and what they took.

        Raises:
            OverloadedError: too much waits already; nothing was started.
            InferenceError: the model failed on a sequence of this call.
            DroppedError: nobody waits for the answer any more.
            NotReadyError: the scheduler is closed.
        """
        start = time.perf_counter()
        job = _Job(sequences, self._classes, caller or Caller())
        job.caller.check()
        if self._admit(job):
            self._run_alone(job)
        else:
            self._wait(job)
        if job.error:
            raise job.error
        elapsed = time.perf_counter() - start
        stats = RunStats(job.batches, job.padding, max(0.0, elapsed - job.infer_s), job.infer_s)
        return job.logits, stats

    def _admit(self, job: _Job) -> bool:
        """Take all slots for a lone sequence, else queue the job; whether it has the slots."""
        tokens = sum(map(len, job.sequences))
        with self._lock:
            if self._closed:
                raise _closed_error()
            self._refuse_callers(tokens)
            self._refuse_tokens(tokens)
            if len(job.sequences) == 1 and not self._items and self._free_slots == self._slots:
                self._free_slots = 0
                return True
            self._jobs += 1
            job.queued = sorted(
                (len(sequence), -self._jobs, position, job)
                for position, sequence in enumerate(job.sequences)
            )
            for item in job.queued:
                bisect.insort(self._items, item)
            self._tokens += tokens
            self._rotation.append(job)
            self._waiting.add(job)
            self._wake_workers()
            return False

    def _refuse_callers(self, tokens: int) -> None:
        """Refuse one more caller; the last places are for those with few tokens."""
        callers, limit = len(self._waiting), self._max_queue
        if tokens > self._small:
            limit -= limit // 4
        if callers >= limit:
            retry_after = self._retry_after()
            raise OverloadedError(
                f"{callers} requests are waiting, the limit is {limit} "
                f"(setting max_queue); try again in {retry_after} s",
                retry_after,
            )

    def _refuse_tokens(self, tokens: int) -> None:
        if tokens <= self._small or not self._tokens:
            return
        if self._tokens + tokens > self._max_queue_tokens:
            retry_after = self._retry_after()
            raise OverloadedError(
                f"{self._tokens} tokens are waiting and this request has {tokens}, the limit is "
                f"{self._max_queue_tokens} (setting max_queue_tokens); try again in "
                f"{retry_after} s",
                retry_after,
            )

    def _retry_after(self) -> int:
        """Seconds until what waits is done, at least 1."""
        return max(1, math.ceil(self._tokens / self._speed))

    def _run_alone(self, job: _Job) -> None:
        """Run a job of one sequence in its caller's thread, with all slots."""
        try:
            self._run_batch([(len(job.sequences[0]), 0, 0, job)], self._session)
        finally:
            self._release_slots(self._slots)
        cause = job.error and job.error.__cause__
        if isinstance(cause, (KeyboardInterrupt, SystemExit)):
            raise cause

    def _wait(self, job: _Job) -> None:
        """Wait for a queued job, for as long as its caller waits for the answer."""
        try:
            with job.caller.calling(lambda: self._drop_if_gone(job)):
                while not _told(job):
                    self._drop_if_gone(job)
        except BaseException:
            with self._lock:
                self._fail(job, InferenceError("the request was interrupted"))
            raise

    def _drop_if_gone(self, job: _Job) -> None:
        problem: SentimentError | None = job.caller.problem()
        if not any(thread.is_alive() for thread in self._threads):
            problem = problem or _closed_error()
        if problem:
            with self._lock:
                self._fail(job, problem)

    def _wake_workers(self) -> None:
        """Wake as many threads as there is work and room for."""
        self._queue_cv.notify(min(self._free_slots, len(self._items)))

    def _work(self) -> None:
        """Run what waits, batch by batch, until the scheduler is closed."""
        _lower_priority()
        while True:
            with self._lock:
                while not self._can_run() and not self._closed:
                    self._queue_cv.wait()
                if self._closed:
                    return
                whole = len(self._items) == 1 and self._free_slots == self._slots
                batch = self._next_batch()
                taken = self._slots if whole else 1
                self._free_slots -= taken
            try:
                self._run_batch(batch, self._session if whole else self._parallel_session)
            finally:
                self._release_slots(taken)

    def _can_run(self) -> bool:
        """Whether there is work and room, apart from the work of those who have gone."""
        for job in [job for job in self._waiting if job.queued]:
            problem = job.caller.problem(ask=False)
            if problem:
                self._fail(job, problem)
        return bool(self._items and self._free_slots)

    def _release_slots(self, slots: int) -> None:
        with self._lock:
            self._free_slots += slots
            self._wake_workers()

    def _next_batch(self) -> list[_Item]:
        """Take the longest sequence of the caller whose turn it is, and its neighbours.

        The batch holds a free slot's share of what waits, within the budget.
        """
        job = self._rotation.popleft()
        share = self._tokens / self._free_slots
        bottom = top = bisect.bisect_left(self._items, job.queued[-1])
        tokens = self._items[top][0]
        while self._may_join(top + 1, bottom, top, share - tokens):
            top += 1
            tokens += self._items[top][0]
        while self._may_join(bottom - 1, bottom, top, share - tokens):
            bottom -= 1
            tokens += self._items[bottom][0]
        batch = self._items[bottom : top + 1][::-1]
        del self._items[bottom : top + 1]
        self._tokens -= tokens
        for item in batch:
            item[3].queued.remove(item)
        self._rotation = deque(waiting for waiting in self._rotation if waiting.queued)
        if job.queued:
            self._rotation.append(job)
        return batch

    def _may_join(self, at: int, bottom: int, top: int, left: float) -> bool:
        """Whether sequence `at`, a neighbour, may join a batch that has so many tokens left."""
        if not 0 <= at < len(self._items) or self._items[at][0] / 2 > left:
            return False
        return batching.fits(
            self._items[min(at, bottom)][0],
            self._items[max(at, top)][0],
            top + 1 - bottom,
            budget=self._budget,
            padding=self._session.padding,
            most=self._most,
        )

    def _run_batch(self, batch: list[_Item], session: Session) -> None:
        """Run a batch and tell its callers; whatever is raised, each of them is told.

        What fails for several callers is run again for each of them.
        """
        start = time.perf_counter()
        jobs = list(dict.fromkeys(job for *_, job in batch))
        try:
            logits = self._infer(batch, session)
        except BaseException as error:  # a caller that is not told would wait for ever
            if len(jobs) == 1:
                self._deliver_failure(jobs[0], error)
                return
        else:
            self._deliver(batch, logits, time.perf_counter() - start)
            return
        for job in jobs:
            if not job.error:
                self._run_batch([item for item in batch if item[3] is job], session)

    def _infer(self, batch: list[_Item], session: Session) -> Logits:
        """Run a batch once: (len(batch), classes) float32 logits; learn the speed from it."""
        start = time.perf_counter()
        sequences = [job.sequences[position] for _, _, position, job in batch]
        ids, lengths = batching.pad(sequences, self._pad_id)
        logits = session.run(ids, lengths)
        if logits.shape != (len(batch), self._classes):
            raise InferenceError(
                f"the model answered with shape {list(logits.shape)}; "
                f"{[len(batch), self._classes]} was expected"
            )
        seconds = max(time.perf_counter() - start, 1e-6)
        tokens = int(lengths.sum())
        parallel_runs = 1 if session is self._session else self._slots
        with self._lock:
            first = batch[0][3]
            first.batches += 1
            first.padding += ids.size - tokens
            speed = parallel_runs * tokens / seconds
            self._speed = _MEMORY * self._speed + (1 - _MEMORY) * speed
        return logits

    def _deliver(self, batch: list[_Item], logits: Logits, seconds: float) -> None:
        """Hand out what a batch gave; wake callers whose answers are complete."""
        with self._lock:
            for row, (_, _, position, job) in enumerate(batch):
                job.logits[position] = logits[row]
                job.left -= 1
            for job in {job for *_, job in batch}:
                job.infer_s += seconds
                if not job.left:
                    self._waiting.discard(job)
                    job.done.put(None)

    def _deliver_failure(self, job: _Job, error: BaseException) -> None:
        if not isinstance(error, InferenceError):
            told = InferenceError("the model was interrupted; send the request again")
            told.__cause__ = error
            error = told
        with self._lock:
            self._fail(job, error)

    def _fail(self, job: _Job, error: SentimentError) -> None:
        """Answer a job with an error unless it has its answer; forget what of it waits."""
        if not job.left or job.error:
            return
        tokens = self._drop(job)
        if isinstance(error, DroppedError):
            error.tokens = tokens
        job.error = error
        self._waiting.discard(job)
        job.done.put(None)

    def _drop(self, job: _Job) -> int:
        """Take a job's sequences out of the queue; return their tokens."""
        if not job.queued:
            return 0
        tokens = sum(item[0] for item in job.queued)
        self._items = [item for item in self._items if item[3] is not job]
        self._rotation.remove(job)
        job.queued = []
        self._tokens -= tokens
        return tokens


def _told(job: _Job) -> bool:
    """Wait for a job until its caller should be looked at; whether it is done."""
    try:
        job.done.get(timeout=job.caller.next_look())
    except queue.Empty:
        return False
    return True


def _closed_error() -> NotReadyError:
    return NotReadyError("not ready: the server is stopping")


def _lower_priority() -> None:
    """Let this thread alone yield the CPU to others; Linux keeps niceness by thread."""
    if sys.platform == "linux":
        own = threading.get_native_id()
        with contextlib.suppress(OSError):  # a sandbox may forbid it
            nice = os.getpriority(os.PRIO_PROCESS, own) + _NICENESS
            os.setpriority(os.PRIO_PROCESS, own, nice)
