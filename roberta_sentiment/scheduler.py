"""One model for many callers: what waits together runs together.

There is no thread of its own. The first caller runs the model; callers that arrive meanwhile wait,
and their sequences join the next batches. A caller whose answers are complete passes the model on.
A lone caller therefore never waits for anybody.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
import threading
import time
from collections import deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from roberta_sentiment import batching
from roberta_sentiment.errors import InferenceError, OverloadedError, SentimentError
from roberta_sentiment.session import Logits, Session

_FIRST_GUESS = 2_000.0
"""Tokens a second, before anything was measured."""
_MEMORY = 0.9
"""Weight of the past in the measured speed."""


@dataclasses.dataclass(frozen=True)
class Share:
    """What answering one caller took.

    Attributes:
        batches, padding: runs of the model and tokens of padding that this caller began; those
            that others began are counted with them.
        queue_s: seconds without a run that held a sequence of this caller.
        infer_s: seconds of the runs that held one.
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
        self.wake = threading.Event()
        self.batches = self.padding = 0
        self.infer_s = 0.0


_Item = tuple[int, int, int, _Job]
"""Length, number of the job, position in the job, job: sorted by length, then by arrival."""


class Scheduler:
    """Runs sequences of concurrent callers on one session.

    Args:
        session: the model.
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
        classes: int,
        pad_id: int,
        budget: int,
        max_queue: int,
        max_queue_tokens: int,
        alone: bool = False,
    ) -> None:
        self._session = session
        self._classes = classes
        self._pad_id = pad_id
        self._budget = budget
        self._max_queue = max_queue
        self._max_queue_tokens = max_queue_tokens
        self._most = 1 if alone else None
        self._lock = threading.Lock()
        self._items: list[_Item] = []
        self._turns: deque[tuple[int, _Job]] = deque()
        self._waiting: set[_Job] = set()
        self._busy = False
        self._jobs = 0
        self._tokens = 0
        self._speed = _FIRST_GUESS

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
        if not self._enter(job):
            job.wake.wait()
        if job.left:
            self._lead(job)
        if job.error:
            raise job.error
        elapsed = time.perf_counter() - start
        share = Share(job.batches, job.padding, max(0.0, elapsed - job.infer_s), job.infer_s)
        return job.logits, share

    def _enter(self, job: _Job) -> bool:
        """Queue a job; whether the caller has the model now."""
        with self._lock:
            self._refuse_callers()
            self._refuse_tokens(sum(map(len, job.sequences)))
            self._jobs += 1
            for position, sequence in enumerate(job.sequences):
                bisect.insort(self._items, (len(sequence), self._jobs, position, job), key=_order)
                self._tokens += len(sequence)
            self._turns.append((self._jobs, job))
            if self._busy:
                self._waiting.add(job)
                return False
            self._busy = True
            return True

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

    def _lead(self, job: _Job) -> None:
        """Run batches until this job is complete, then pass the model on."""
        try:
            while job.left:
                with self._lock:
                    batch = self._next_batch()
                self._run_batch(batch)
        finally:
            with self._lock:
                self._pass_on()

    def _pass_on(self) -> None:
        """Wake the caller whose turn is next, or free the model."""
        for _, job in self._turns:
            if job in self._waiting:
                self._waiting.discard(job)
                job.wake.set()
                return
        self._busy = False

    def _next_batch(self) -> list[_Item]:
        """Take the longest sequence of the caller whose turn it is, and its neighbours."""
        number, job = self._turns.popleft()
        at = max(i for i, item in enumerate(self._items) if item[3] is job)
        top = self._top(at)
        bottom = at
        while bottom > 0 and self._fits(bottom - 1, top, top - bottom + 1):
            bottom -= 1
        batch = self._items[bottom : top + 1][::-1]
        del self._items[bottom : top + 1]
        self._tokens -= sum(item[0] for item in batch)
        taken = {item[3] for item in batch}
        remaining = {item[3] for item in self._items if item[3] in taken}
        self._turns = deque(
            turn for turn in self._turns if turn[1] not in taken or turn[1] in remaining
        )
        if job in remaining:
            self._turns.append((number, job))
        return batch

    def _top(self, at: int) -> int:
        """The longest sequence that may share a batch with number `at` and all between them."""
        top = at
        while top + 1 < len(self._items) and self._fits(at, top + 1, top + 1 - at):
            top += 1
        return top

    def _fits(self, at: int, top: int, rows: int) -> bool:
        """Whether sequence `at` may join `rows` others, the longest of which is `top`."""
        return batching.fits(
            self._items[at][0],
            self._items[top][0],
            rows,
            budget=self._budget,
            equal_lengths=not self._session.has_mask,
            most=self._most,
        )

    def _run_batch(self, batch: list[_Item]) -> None:
        """Run a batch; what fails for several callers is run again for each of them."""
        start = time.perf_counter()
        try:
            logits, padding = self._run([job.sequences[position] for _, _, position, job in batch])
        except InferenceError as error:
            jobs = {job for *_, job in batch}
            if len(jobs) == 1:
                self._deliver(batch, None, error, time.perf_counter() - start)
                return
            for job in jobs:
                self._run_batch([item for item in batch if item[3] is job])
            return
        except BaseException:
            failed = InferenceError("the model was interrupted; send the request again")
            self._deliver(batch, None, failed, time.perf_counter() - start)
            raise
        first = batch[0][3]
        first.batches += 1
        first.padding += padding
        self._deliver(batch, logits, None, time.perf_counter() - start)

    def _run(self, sequences: list[Sequence[int]]) -> tuple[Logits, int]:
        ids, lengths = batching.pad(sequences, self._pad_id)
        return self._session.run(ids, lengths), int(ids.size - lengths.sum())

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
                if not job.left and job in self._waiting:
                    self._waiting.discard(job)
                    job.wake.set()
            if logits is not None and seconds > 0:
                tokens = sum(length for length, *_ in batch)
                self._speed = _MEMORY * self._speed + (1 - _MEMORY) * tokens / seconds

    def _drop(self, job: _Job) -> None:
        """Forget the rest of a job that has failed."""
        rest = [item for item in self._items if item[3] is job]
        self._items = [item for item in self._items if item[3] is not job]
        self._tokens -= sum(item[0] for item in rest)
        self._turns = deque(turn for turn in self._turns if turn[1] is not job)
        job.left = 0


def _order(item: _Item) -> tuple[int, int]:
    return item[0], -item[1]
