"""The sums of all counters and histograms, in memory that every process of the service shares.

Each process adds to a region of its own, so no process waits for another and a killed one takes
nothing with it. The next process that starts inherits the region and its sums: a sum never falls
while the service lives, however often its workers are restarted.
"""

from __future__ import annotations

import bisect
import fcntl
import json
import logging
import mmap
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from seldon_core import metrics as wrapper_metrics

logger = logging.getLogger(__name__)

Metric = Mapping[str, Any]
"""A metric as Seldon writes it: `type`, `key`, `value` (of a TIMER: ms) and `tags`."""

Series = tuple[str, str, tuple[tuple[str, str], ...]]
"""Type, name without suffix, and label pairs in the order of their names."""

COUNTER, HISTOGRAM = "COUNTER", "TIMER"
BOUNDS: Sequence[float] = [float(bound) for bound in wrapper_metrics.BINS[1:]]
"""Upper bounds of a histogram's buckets, s."""

_NUMBERS = {COUNTER: 1, HISTOGRAM: 1 + len(BOUNDS)}
"""Numbers of a series: a counter's value; a histogram's sum of seconds, then its buckets."""

_WORD = 8
_REGION_BYTES = 2**20
_REGIONS = 1024
"""Most processes that count at the same time. A region that nobody used takes no memory."""


class MetricsStore:
    """Stands where the wrapper expects its `SeldonMetrics`; made before any server is forked."""

    def __init__(self, *_: object, **__: object) -> None:
        self._regions = os.memfd_create("metrics")
        self._locks = os.memfd_create("metrics-locks")
        os.ftruncate(self._regions, _REGIONS * _REGION_BYTES)
        self._lock = threading.Lock()
        self._own: _Region | None = None
        self._owner = 0
        self._readable: dict[int, _Region] = {}

    def __del__(self) -> None:
        os.close(self._regions)
        os.close(self._locks)

    def update(self, custom_metrics: Iterable[Metric], method: str) -> None:
        """Add to the sums; they are on the metrics page at once.

        Args:
            custom_metrics: counters and timers.
            method: label `method` of each series, empty for none.
        """
        added = [(_series(metric, method), metric["value"]) for metric in custom_metrics]
        if not added:
            return
        with self._lock:
            region = self._region()
            for series, value in added:
                if series[0] == HISTOGRAM:
                    region.observe(series, value / 1000)
                else:
                    region.add(series, value)

    def begin(self, metrics: Iterable[Metric], method: str) -> None:
        """Show series at 0 before their first event, so that `increase` sees it."""
        with self._lock:
            region = self._region()
            for metric in metrics:
                region.reserve(_series(metric, method))

    def update_reward(self, reward: float) -> None:
        """Count nothing: the node counts a reward once it has accepted the feedback."""

    def clear(self) -> None:
        """Keep the sums of a worker that ends."""

    def totals(self) -> dict[Series, list[float]]:
        """The sums over all processes, living and dead; a histogram's as in `_NUMBERS`."""
        totals: dict[Series, list[float]] = {}
        for index in range(_REGIONS):
            if index not in self._readable:
                if not any(os.pread(self._regions, _WORD, index * _REGION_BYTES)):
                    continue
                self._readable[index] = _Region(self._regions, index)
            for series, numbers in self._readable[index].read().items():
                before = totals.get(series)
                totals[series] = (
                    [a + b for a, b in zip(before, numbers, strict=True)] if before else numbers
                )
        return totals

    def _region(self) -> _Region:
        """The region of this process, claimed with the first metric after its fork."""
        pid = os.getpid()
        if self._own is None or self._owner != pid:
            self._own, self._owner = self._claim(), pid
        return self._own

    def _claim(self) -> _Region:
        """Take the first region without a living owner; the kernel frees the locks of the dead."""
        for index in range(_REGIONS):
            try:
                fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, index)
            except OSError:
                continue
            return _Region(self._regions, index)
        logger.error("more than %d processes count; this one shares the last region", _REGIONS)
        return _Region(self._regions, _REGIONS - 1)


class _Region:
    """Series with their numbers, one after the other, written by one process.

    Word 0 is the number of words in use. A series is two words (bytes of its name, count of its
    numbers), its name in JSON, filled up to whole words, and its numbers. It is complete before
    word 0 says so, so a process may be killed at any moment.
    """

    def __init__(self, file: int, index: int) -> None:
        self._bytes = mmap.mmap(file, _REGION_BYTES, offset=index * _REGION_BYTES)
        self._integers: memoryview[int] = memoryview(self._bytes).cast("q")
        self._numbers: memoryview[float] = memoryview(self._bytes).cast("d")
        self._offsets: dict[Series, int] = {}
        self._known = 1
        self._is_full = False
        self._catch_up()

    def add(self, series: Series, value: float) -> None:
        """Add to a counter."""
        offset = self.reserve(series)
        if offset is not None:
            self._numbers[offset] += value

    def observe(self, series: Series, seconds: float) -> None:
        """Add to a histogram."""
        offset = self.reserve(series)
        if offset is not None:
            self._numbers[offset] += seconds
            self._numbers[offset + 1 + bisect.bisect_left(BOUNDS, seconds)] += 1

    def read(self) -> dict[Series, list[float]]:
        """All series with their numbers."""
        self._catch_up()
        return {
            series: list(self._numbers[offset : offset + _NUMBERS[series[0]]])
            for series, offset in self._offsets.items()
        }

    def reserve(self, series: Series) -> int | None:
        """Index of a series' first number, None if the region is full."""
        offset = self._offsets.get(series)
        return self._append(series) if offset is None else offset

    def _append(self, series: Series) -> int | None:
        name = json.dumps(series, separators=(",", ":")).encode()
        count = _NUMBERS[series[0]]
        start = max(1, self._integers[0])
        offset = start + 2 + -(-len(name) // _WORD)
        end = offset + count
        if end * _WORD > _REGION_BYTES:
            if not self._is_full:
                logger.error("no room to count %s and further series", series)
            self._is_full = True
            return None
        self._integers[start], self._integers[start + 1] = len(name), count
        self._bytes[(start + 2) * _WORD : (start + 2) * _WORD + len(name)] = name
        for i in range(offset, end):
            self._numbers[i] = 0.0
        self._integers[0] = end
        self._catch_up()
        return offset

    def _catch_up(self) -> None:
        """Learn the series that were added, by this process or by the region's owner."""
        while self._known < self._integers[0]:
            size, count = self._integers[self._known], self._integers[self._known + 1]
            name = self._bytes[(self._known + 2) * _WORD : (self._known + 2) * _WORD + size]
            kind, key, labels = json.loads(name)
            offset = self._known + 2 + -(-size // _WORD)
            self._offsets[kind, key, tuple((label, value) for label, value in labels)] = offset
            self._known = offset + count


def _series(metric: Metric, method: str) -> Series:
    labels = {**metric.get("tags", {}), **({"method": method} if method else {})}
    kind = metric.get("type", COUNTER)
    if kind not in _NUMBERS:
        raise ValueError(f"{metric['key']} is a {kind}; a COUNTER or a TIMER is needed")
    return kind, metric["key"], tuple(sorted(labels.items()))
