"""One model for concurrent callers: requests that wait together run together.

A single sequence that arrives while nothing runs is run by its caller's thread on all CPUs.
Requests that arrive meanwhile wait. Worker threads take them in batches and run these in parallel,
each on one CPU: such runs need no barrier after every operator, and answer up to half as many
requests more.

Worker threads have a lower priority than the threads that read requests and write answers. Those
are done in a moment, and a request that is read in it joins the next batch.
"""

from __future__ import annotations

import atexit
import dataclasses
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Sequence

from roberta_sentiment.caller import Caller
from roberta_sentiment.errors import (
    DroppedError,
    InferenceError,
    NotReadyError,
    SentimentError,
)
from roberta_sentiment.run import batching
from roberta_sentiment.run.request_queue import Item, Job, RequestQueue
from roberta_sentiment.run.session import Logits, Session

logger = logging.getLogger(__name__)

_NICENESS = 5
"""Of the threads that run batches, on top of the process's own."""


@dataclasses.dataclass(frozen=True)
class RunStats:
    """What answering one caller took.

    Attributes:
        batches, padding: runs of the model that began with a sequence of this caller, and their
            tokens of padding.
        queue_s: seconds without a run that held a sequence of this caller.
        infer_s: seconds of the runs that held one, added up.
    """

    batches: int
    padding: int
    queue_s: float
    infer_s: float


class Scheduler:
    """Runs sequences of concurrent callers on one session; its threads do not survive a fork.

    Args:
        session: the model, all threads for one run.
        parallel_session: the same, one thread a run; without it runs never go side by side.
        max_parallel_runs: runs of `parallel_session` side by side.
        prepare_ahead: a second batch is made ready while one runs, once enough waits to fill it;
            the session itself runs one at a time.
        classes: width of its output.
        pad_id: id of the padding token.
        budget: most tokens in a batch, padding included; a longer sequence runs alone.
        max_queue: most callers that may wait. The last quarter is kept for small callers, each
            with no more than its part of `max_queue_tokens`.
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
        prepare_ahead: bool = False,
        classes: int,
        pad_id: int,
        budget: int,
        max_queue: int,
        max_queue_tokens: int,
        one_per_batch: bool = False,
    ) -> None:
        self._session = session
        self._parallel_session = parallel_session or session
        self._most_slots = max_parallel_runs
        self._prepare_ahead = prepare_ahead
        self._slots = 2 if prepare_ahead else max_parallel_runs if parallel_session else 1
        self._free_slots = self._slots
        self._classes = classes
        self._pad_id = pad_id
        self._queue = RequestQueue(
            budget=budget,
            padding=session.padding,
            run_cost=session.run_cost,
            max_batch=1 if one_per_batch else None,
            max_queue=max_queue,
            max_queue_tokens=max_queue_tokens,
        )
        self._lock = threading.Lock()
        self._queue_cv = threading.Condition(self._lock)
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"roberta-run-{number}", daemon=True)
            for number in range(max(max_parallel_runs, self._slots))
        ]
        for thread in self._threads:
            thread.start()
        # A thread that is still inside ONNX Runtime when the interpreter ends aborts the process.
        atexit.register(self.close)

    def close(self) -> None:
        """Refuse waiting and new callers, and end the threads when their runs are over."""
        with self._lock:
            self._closed = True
            for job in list(self._queue.jobs):
                self._fail(job, _closed_error())
            self._queue_cv.notify_all()
        for thread in self._threads:
            thread.join()
        atexit.unregister(self.close)  # which would keep the session in memory

    def replace_sessions(self, session: Session, parallel_session: Session | None) -> None:
        """Run what comes from now on with another file of the same model; running batches end.

        Args:
            session, parallel_session: as for the constructor.
        """
        with self._lock:
            slots = self._most_slots if parallel_session else 1
            self._free_slots += slots - self._slots
            self._slots = slots
            self._session, self._parallel_session = session, parallel_session or session
            self._queue.padding = session.padding
            self._wake_workers()

    def refuse_overload(self, arriving: int = 0) -> None:
        """Refuse a caller before anything is done for it, if the queue is full.

        Without the lock, which may be held by a thread that waits for a CPU.

        Args:
            arriving: callers that were not refused and have not come to `run` yet.

        Raises:
            OverloadedError: too many callers wait already.
        """
        self._queue.refuse_callers(0, max(0, arriving - self._free_slots))

    def run(
        self, sequences: Sequence[Sequence[int]], caller: Caller | None = None
    ) -> tuple[Logits, RunStats]:
        """Run all sequences of one caller.

        Args:
            sequences: n sequences of token ids, n at least 1.
            caller: when it disconnects or its deadline passes, its waiting sequences are dropped.

        Returns:
            (n, classes) float32 logits in the order of the sequences, and what they took.

        Raises:
            OverloadedError: too much waits already; nothing was started.
            InferenceError: the model failed on a sequence of this call.
            DroppedError: the caller has disconnected, or its time is over.
            NotReadyError: the scheduler is closed.
        """
        start = time.perf_counter()
        job = Job(sequences, self._classes, caller or Caller())
        job.caller.check()
        slots = self._admit(job)
        job.caller.on_queued()
        if slots:
            self._run_alone(job, slots)
        else:
            self._wait(job)
        if job.error:
            raise job.error
        elapsed = time.perf_counter() - start
        stats = RunStats(job.batches, job.padding, max(0.0, elapsed - job.infer_s), job.infer_s)
        return job.logits, stats

    def _admit(self, job: Job) -> int:
        """Take all slots for a single sequence, else queue the job; the slots taken."""
        tokens = sum(map(len, job.sequences))
        with self._lock:
            if self._closed:
                raise _closed_error()
            self._queue.refuse_callers(tokens)
            self._queue.refuse_tokens(tokens)
            if len(job.sequences) == 1 and not self._queue and self._free_slots == self._slots:
                taken = self._slots_of_a_whole_run()
                self._free_slots -= taken
                return taken
            self._queue.add(job)
            self._wake_workers()
            return 0

    def _run_alone(self, job: Job, slots: int) -> None:
        """Run a job of one sequence in its caller's thread, with all slots."""
        try:
            self._run_batch([(len(job.sequences[0]), 0, 0, job)], self._session)
        finally:
            self._release_slots(slots)
        cause = job.error and job.error.__cause__
        if isinstance(cause, (KeyboardInterrupt, SystemExit)):
            raise cause

    def _wait(self, job: Job) -> None:
        """Wait for a queued job, for as long as its caller waits for the answer."""
        try:
            with job.caller.calling(lambda: self._drop_if_gone(job)):
                while not _is_done(job):
                    self._drop_if_gone(job)
        except BaseException:
            with self._lock:
                self._fail(job, InferenceError("the request was interrupted"))
            raise

    def _drop_if_gone(self, job: Job) -> None:
        problem: SentimentError | None = job.caller.problem()
        if not any(thread.is_alive() for thread in self._threads):
            problem = problem or _closed_error()
        if problem:
            with self._lock:
                self._fail(job, problem)

    def _wake_workers(self) -> None:
        """Wake as many threads as there is work and room for."""
        self._queue_cv.notify(min(self._free_slots, len(self._queue)))

    def _work(self) -> None:
        """Run what waits, batch by batch, until the scheduler is closed."""
        _lower_priority()
        while True:
            with self._lock:
                while not self._can_run() and not self._closed:
                    self._queue_cv.wait()
                if self._closed:
                    return
                whole = len(self._queue) == 1 and self._free_slots == self._slots
                ways = (1, 1) if self._prepare_ahead else (self._free_slots, self._slots)
                batch = self._queue.next_batch(*ways)
                taken = self._slots_of_a_whole_run() if whole else 1
                self._free_slots -= taken
            try:
                self._run_batch(batch, self._session if whole else self._parallel_session)
            finally:
                self._release_slots(taken)

    def _slots_of_a_whole_run(self) -> int:
        """Slots of a run with all threads; beside it another batch may be made ready."""
        return 1 if self._prepare_ahead else self._slots

    def _can_run(self) -> bool:
        """Drop the work of callers that have left; whether work waits and a slot is free."""
        for job in [job for job in self._queue.jobs if job.queued]:
            problem = job.caller.problem(ask=False)
            if problem:
                self._fail(job, problem)
        has_run = self._prepare_ahead and self._free_slots < self._slots
        return bool(self._queue and self._free_slots) and (not has_run or self._queue.fills_a_batch)

    def _release_slots(self, slots: int) -> None:
        with self._lock:
            self._free_slots += slots
            self._wake_workers()

    def _run_batch(self, batch: list[Item], session: Session) -> None:
        """Run a batch and answer its callers, whatever is raised.

        What fails for several callers is run again for each of them.
        """
        start = time.perf_counter()
        jobs = list(dict.fromkeys(job for *_, job in batch))
        try:
            logits = self._infer(batch, session)
        except BaseException as error:  # a caller without an answer would wait forever
            if len(jobs) == 1:
                self._deliver_failure(jobs[0], error)
                return
        else:
            self._deliver(batch, logits, time.perf_counter() - start)
            return
        for job in jobs:
            if not job.error:
                self._run_batch([item for item in batch if item[3] is job], session)

    def _infer(self, batch: list[Item], session: Session) -> Logits:
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
            self._queue.learn_speed(parallel_runs * tokens / seconds)
        return logits

    def _deliver(self, batch: list[Item], logits: Logits, seconds: float) -> None:
        """Distribute the logits of a batch; wake callers whose answers are complete."""
        with self._lock:
            for row, (_, _, position, job) in enumerate(batch):
                job.logits[position] = logits[row]
                job.missing -= 1
            for job in {job for *_, job in batch}:
                job.infer_s += seconds
                if not job.missing:
                    self._queue.jobs.discard(job)
                    job.done.put(None)

    def _deliver_failure(self, job: Job, error: BaseException) -> None:
        if not isinstance(error, InferenceError):
            interrupted = InferenceError("the model was interrupted; send the request again")
            interrupted.__cause__ = error
            error = interrupted
        with self._lock:
            self._fail(job, error)

    def _fail(self, job: Job, error: SentimentError) -> None:
        """End a job with an error unless it is complete; drop its waiting sequences."""
        if not job.missing or job.error:
            return
        tokens = self._queue.drop(job)
        if isinstance(error, DroppedError):
            error.tokens = tokens
        job.error = error
        job.done.put(None)


def _is_done(job: Job) -> bool:
    """Wait for a job until its caller has to be looked at; return whether it is done."""
    try:
        job.done.get(timeout=job.caller.poll_timeout_s())
    except queue.Empty:
        return False
    return True


def _closed_error() -> NotReadyError:
    return NotReadyError("not ready: the server is stopping")


def _lower_priority() -> None:
    """Lower the priority of this thread; Linux keeps niceness by thread."""
    if sys.platform == "linux":
        own = threading.get_native_id()
        try:
            nice = os.getpriority(os.PRIO_PROCESS, own) + _NICENESS
            os.setpriority(os.PRIO_PROCESS, own, nice)
        except OSError as error:  # a sandbox may forbid it
            logger.info("batches run with the priority of requests: %s", error.strerror)
