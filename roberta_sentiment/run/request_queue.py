"""What waits for the model: who may wait, who is next, and which sequences run together."""

from __future__ import annotations

import bisect
import math
import queue
from collections import deque
from collections.abc import Sequence

import numpy as np

from roberta_sentiment.caller import Caller
from roberta_sentiment.errors import OverloadedError, SentimentError
from roberta_sentiment.run import batching
from roberta_sentiment.run.batching import Padding

_FIRST_GUESS = 2_000.0
"""Tokens a second, before anything was measured."""
_MEMORY = 0.9
"""Weight of the past in the measured speed."""


class Job:
    """All sequences of one call.

    Args:
        sequences: n sequences of token ids.
        classes: width of their logits.
        caller: who waits for them.

    Attributes:
        logits: (n, classes) float32, complete when `missing` is 0.
        missing: sequences without logits.
        queued: those that wait, sorted.
        error: what ended the job.
        done: gets an item once or more at the end; an Event would cost several times as much.
        batches, padding: of the runs that have ended and began with a sequence of this job.
        infer_s: seconds of the runs that held one of its sequences.
    """

    def __init__(self, sequences: Sequence[Sequence[int]], classes: int, caller: Caller) -> None:
        self.sequences = sequences
        self.caller = caller
        self.logits = np.empty((len(sequences), classes), dtype=np.float32)
        self.missing = len(sequences)
        self.queued: list[Item] = []
        self.error: SentimentError | None = None
        self.done: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.batches = self.padding = 0
        self.infer_s = 0.0


Item = tuple[int, int, int, Job]
"""Length, minus the job's number, position in the job, job: sorted by length, the newest first."""


class RequestQueue:
    """Waiting sequences, sorted by length, and their jobs in rotation. Not thread-safe.

    Args:
        budget: most tokens in a batch, padding included; a longer sequence runs alone.
        padding: what padding costs the model.
        max_batch: most sequences in a batch.
        run_cost: see `batching.fits`.
        max_queue: most callers that may wait. The last quarter is kept for small callers, each
            with no more than its part of `max_queue_tokens`.
        max_queue_tokens: most tokens that may wait; one call may exceed it if nothing waits, and a
            small caller always may.

    Attributes:
        jobs: those without a complete answer, queued or running.
        tokens: of all sequences that wait.
        padding: as given, until the model is replaced.
    """

    def __init__(
        self,
        *,
        budget: int,
        padding: Padding,
        max_batch: int | None,
        max_queue: int,
        max_queue_tokens: int,
        run_cost: int = 1,
    ) -> None:
        self.jobs: set[Job] = set()
        self.tokens = 0
        self._budget = budget
        self.padding = padding
        self._max_batch = max_batch
        self._run_cost = run_cost
        self._max_queue = max_queue
        self._max_queue_tokens = max_queue_tokens
        self._small = max_queue_tokens // max_queue
        self._items: list[Item] = []
        self._rotation: deque[Job] = deque()
        self._jobs_added = 0
        self._speed = _FIRST_GUESS

    def __len__(self) -> int:
        """Sequences that wait."""
        return len(self._items)

    @property
    def fills_a_batch(self) -> bool:
        """Whether what waits is as much as a batch may hold."""
        return self.tokens >= self._budget

    def refuse_callers(self, tokens: int, arriving: int = 0) -> None:
        """Refuse one more caller if too many wait; a small one may still come.

        Args:
            tokens: of the caller.
            arriving: callers that will wait beside those that do.

        Raises:
            OverloadedError: with the limit and the time after which to try again.
        """
        callers, limit = len(self.jobs) + arriving, self._max_queue
        if tokens > self._small:
            limit -= limit // 4
        if callers >= limit:
            retry_after = self._retry_after()
            raise OverloadedError(
                f"{callers} requests are waiting, the limit is {limit} "
                f"(setting max_queue); try again in {retry_after} s",
                retry_after,
            )

    def refuse_tokens(self, tokens: int) -> None:
        """Refuse one more caller if too many tokens wait.

        Raises:
            OverloadedError: with the limit and the time after which to try again.
        """
        if tokens <= self._small or not self.tokens:
            return
        if self.tokens + tokens > self._max_queue_tokens:
            retry_after = self._retry_after()
            raise OverloadedError(
                f"{self.tokens} tokens are waiting and this request has {tokens}, the limit is "
                f"{self._max_queue_tokens} (setting max_queue_tokens); try again in "
                f"{retry_after} s",
                retry_after,
            )

    def _retry_after(self) -> int:
        """Seconds until what waits is done, at least 1."""
        return max(1, math.ceil(self.tokens / self._speed))

    def add(self, job: Job) -> None:
        """Queue a job behind the others."""
        self._jobs_added += 1
        job.queued = sorted(
            (len(sequence), -self._jobs_added, position, job)
            for position, sequence in enumerate(job.sequences)
        )
        for item in job.queued:
            bisect.insort(self._items, item)
        self.tokens += sum(map(len, job.sequences))
        self._rotation.append(job)
        self.jobs.add(job)

    def drop(self, job: Job) -> int:
        """Forget a job; return the tokens of its sequences that still waited."""
        self.jobs.discard(job)
        if not job.queued:
            return 0
        tokens = sum(item[0] for item in job.queued)
        self._items = [item for item in self._items if item[3] is not job]
        self._rotation.remove(job)
        job.queued = []
        self.tokens -= tokens
        return tokens

    def next_batch(self, free_slots: int, slots: int) -> list[Item]:
        """Take the longest sequence of the next job in rotation, and its neighbours in length.

        A batch holds an equal part of what waits, within the budget: one for each free slot, or,
        after the first runs of a caller for whom no other waits, one for each slot, so that its
        last runs get shorter and end together.

        Args:
            free_slots: runs that may begin now, this one included.
            slots: runs that may go side by side.
        """
        alone = len(self._rotation) == 1
        job = self._rotation.popleft()
        size = self.tokens / (slots if alone and job.batches else free_slots)
        bottom = top = bisect.bisect_left(self._items, job.queued[-1])
        tokens = self._items[top][0]
        while self._may_join(top + 1, bottom, top, tokens, size):
            top += 1
            tokens += self._items[top][0]
        while self._may_join(bottom - 1, bottom, top, tokens, size):
            bottom -= 1
            tokens += self._items[bottom][0]
        batch = self._items[bottom : top + 1][::-1]
        del self._items[bottom : top + 1]
        self.tokens -= tokens
        for item in batch:
            item[3].queued.remove(item)
        self._rotation = deque(waiting for waiting in self._rotation if waiting.queued)
        if job.queued:
            self._rotation.append(job)
        return batch

    def _may_join(self, at: int, bottom: int, top: int, tokens: int, size: float) -> bool:
        """Whether sequence `at`, a neighbour, may join a batch of so many tokens."""
        if not 0 <= at < len(self._items) or self._items[at][0] / 2 > size - tokens:
            return False
        return batching.fits(
            self._items[min(at, bottom)][0],
            self._items[max(at, top)][0],
            top + 1 - bottom,
            tokens=tokens,
            budget=self._budget,
            padding=self.padding,
            most=self._max_batch,
            run_cost=self._run_cost,
        )

    def learn_speed(self, tokens_per_s: float) -> None:
        """Add a measurement to the moving average that gives Retry-After."""
        self._speed = _MEMORY * self._speed + (1 - _MEMORY) * tokens_per_s
