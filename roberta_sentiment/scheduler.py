"""One model for many callers: what waits together runs together.

A sequence that comes while nothing runs is run by its caller with all threads: it waits for nobody.
What comes meanwhile waits. Threads of the scheduler take it in batches that run side by side, each
on one CPU: such runs need no barrier after every operator, and answer up to half as many requests
more.

Those threads yield the CPU to others, which read requests and write answers. That takes a moment
only, and who is read in it joins the next batch.
"""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from queue import SimpleQueue

import numpy as np
import numpy.typing as npt

from roberta_sentiment import batching
from roberta_sentiment.errors import InferenceError, OverloadedError, SentimentError
from roberta_sentiment.session import Logits, Session

_FIRST_GUESS = 2_000.0
"""Tokens a second, before anything was measured."""
_MEMORY = 0.9
"""Weight of the past in the measured speed."""
_NICENESS = 5
"""Of the threads that run batches, on top of the process's own."""


@dataclasses.dataclass(frozen=True)
class Share:
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

    def __init__(self, sequences: Sequence[Sequence[int]], classes: int) -> None:
        self.sequences = sequences
        self.logits = np.empty((len(sequences), classes), dtype=np.float32)
        self.left = len(sequences)
        self.error: SentimentError | None = None
        self.done: SimpleQueue[None] = SimpleQueue()
        """Told once or more; an Event would cost several times as much."""
        self.batches = self.padding = 0
        self.infer_s = 0.0


_Item = tuple[int, int, int, _Job]
"""Length, minus the job's number, position in the job, job: sorted by length, the newest first."""


class Scheduler:
    """Runs sequences of concurrent callers on one session; its threads do not survive a fork.

    Args:
        session: the model, all threads for one run.
        single: the same, one thread a run; without it runs never go side by side.
        places: runs of `single` side by side.
        classes: width of its output.
        pad_id: id of the padding token.
        budget: most tokens in a batch, padding included; a longer sequence runs alone.
        max_queue: most callers that may wait.
        max_queue_tokens: most tokens that may wait; one call may exceed it if nothing waits.
        alone: no two sequences share a batch.
    """

    def __init__(
        self,
        session: Session,
        *,
        single: Session | None = None,
        places: int = 1,
        classes: int,
        pad_id: int,
        budget: int,
        max_queue: int,
        max_queue_tokens: int,
        alone: bool = False,
    ) -> None:
        self._session = session
        self._single = single or session
        self._places = places if single else 1
        self._free = self._places
        self._classes = classes
        self._pad_id = pad_id
        self._budget = budget
        self._max_queue = max_queue
        self._max_queue_tokens = max_queue_tokens
        self._most = 1 if alone else None
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._items: list[_Item] = []
        self._turns: deque[_Job] = deque()
        self._waiting: set[_Job] = set()
        self._jobs = 0
        self._tokens = 0
        self._speed = _FIRST_GUESS
        for number in range(self._places):
            name = f"roberta-run-{number}"
            threading.Thread(target=self._serve, name=name, daemon=True).start()

    def refuse_overload(self) -> None:
        """Refuse a caller for whom there is no room, before anything is done for it.

        Raises:
            OverloadedError: too many callers wait already.
        """
        with self._lock:
            self._refuse_callers()

    def run(self, sequences: Sequence[Sequence[int]]) -> tuple[Logits, Share]:
        """Run all sequences of one caller.

        Args:
            sequences: n sequences of token ids, n at least 1.

        Returns:
            (n, classes) float32 logits in the order of the sequences, and what they took.

        Raises:
            OverloadedError: too much waits already; nothing was started.
            InferenceError: the model failed on a sequence of this call.
        """
        start = time.perf_counter()
        job = _Job(sequences, self._classes)
        if self._enter(job):
            self._run_alone(job)
        else:
            job.done.get()
        if job.error:
            raise job.error
        elapsed = time.perf_counter() - start
        share = Share(job.batches, job.padding, max(0.0, elapsed - job.infer_s), job.infer_s)
        return job.logits, share

    def _enter(self, job: _Job) -> bool:
        """Take all places for a lone sequence, else queue the job; whether it has the places."""
        with self._lock:
            self._refuse_callers()
            self._refuse_tokens(sum(map(len, job.sequences)))
            if len(job.sequences) == 1 and not self._items and self._free == self._places:
                self._free = 0
                return True
            self._jobs += 1
            for position, sequence in enumerate(job.sequences):
                bisect.insort(self._items, (len(sequence), -self._jobs, position, job))
                self._tokens += len(sequence)
            self._turns.append(job)
            self._waiting.add(job)
            self._call_threads()
            return False

    def _refuse_callers(self) -> None:
        callers = len(self._waiting)
        if callers >= self._max_queue:
            retry_after = self._retry_after()
            raise OverloadedError(
                f"{callers} requests are waiting, the limit is {self._max_queue} "
                f"(setting max_queue); try again in {retry_after} s",
                retry_after,
            )

    def _refuse_tokens(self, tokens: int) -> None:
        if self._tokens and self._tokens + tokens > self._max_queue_tokens:
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
        """Run a job of one sequence in its caller's thread, with all places."""
        try:
            self._run_batch([(len(job.sequences[0]), 0, 0, job)], self._session)
        finally:
            self._give_back(self._places)

    def _call_threads(self) -> None:
        """Wake as many threads as there is work and room for."""
        self._work.notify(min(self._free, len(self._items)))

    def _serve(self) -> None:
        """Run what waits, batch by batch, for ever."""
        _be_nice()
        while True:
            with self._lock:
                while not (self._items and self._free):
                    self._work.wait()
                whole = len(self._items) == 1 and self._free == self._places
                batch = self._next_batch()
                taken = self._places if whole else 1
                self._free -= taken
            with contextlib.suppress(BaseException):  # the callers have been told
                self._run_batch(batch, self._session if whole else self._single)
            self._give_back(taken)

    def _give_back(self, places: int) -> None:
        with self._lock:
            self._free += places
            self._call_threads()

    def _next_batch(self) -> list[_Item]:
        """Take the longest sequence of the caller whose turn it is, and its neighbours.

        The batch holds a free place's share of what waits, within the budget.
        """
        job = self._turns.popleft()
        share = self._tokens / self._free
        bottom = top = max(i for i, item in enumerate(self._items) if item[3] is job)
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
        taken = {item[3] for item in batch}
        remaining = {item[3] for item in self._items if item[3] in taken}
        self._turns = deque(j for j in self._turns if j not in taken or j in remaining)
        if job in remaining:
            self._turns.append(job)
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
        """Run a batch; what fails for several callers is run again for each of them."""
        start = time.perf_counter()
        try:
            sequences = [job.sequences[position] for _, _, position, job in batch]
            ids, lengths = batching.pad(sequences, self._pad_id)
            logits = session.run(ids, lengths)
        except InferenceError as error:
            jobs = {job for *_, job in batch}
            if len(jobs) == 1:
                self._deliver(batch, None, error, time.perf_counter() - start)
                return
            for job in jobs:
                self._run_batch([item for item in batch if item[3] is job], session)
            return
        except BaseException as error:
            failed = InferenceError("the model was interrupted; send the request again")
            failed.__cause__ = error
            self._deliver(batch, None, failed, time.perf_counter() - start)
            raise
        seconds = time.perf_counter() - start
        tokens = int(lengths.sum())
        at_once = 1 if session is self._session else self._places
        with self._lock:
            first = batch[0][3]
            first.batches += 1
            first.padding += ids.size - tokens
            speed = at_once * tokens / max(seconds, 1e-6)
            self._speed = _MEMORY * self._speed + (1 - _MEMORY) * speed
        self._deliver(batch, logits, None, seconds)

    def _deliver(
        self,
        batch: list[_Item],
        logits: npt.NDArray[np.float32] | None,
        error: SentimentError | None,
        seconds: float,
    ) -> None:
        """Hand out what a batch gave; wake callers whose answers are complete."""
        with self._lock:
            for row, (_, _, position, job) in enumerate(batch):
                if logits is not None:
                    job.logits[position] = logits[row]
                job.error = job.error or error
                job.left -= 1
            for job in {job for *_, job in batch}:
                job.infer_s += seconds
                if job.error:
                    self._drop(job)
                if not job.left:
                    self._waiting.discard(job)
                    job.done.put(None)

    def _drop(self, job: _Job) -> None:
        """Forget the rest of a job that has failed."""
        rest = [item for item in self._items if item[3] is job]
        self._items = [item for item in self._items if item[3] is not job]
        self._tokens -= sum(item[0] for item in rest)
        self._turns = deque(other for other in self._turns if other is not job)
        job.left = 0


def _be_nice() -> None:
    """Let this thread alone yield the CPU to others; Linux keeps niceness by thread."""
    if sys.platform == "linux":
        own = threading.get_native_id()
        with contextlib.suppress(OSError):  # a sandbox may forbid it
            nice = os.getpriority(os.PRIO_PROCESS, own) + _NICENESS
            os.setpriority(os.PRIO_PROCESS, own, nice)
