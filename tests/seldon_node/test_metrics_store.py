"""The shared sums: exact over threads, processes and their deaths."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seldon_node import metrics_store
from seldon_node.metrics_store import BOUNDS, MetricsStore

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")

FORK = multiprocessing.get_context("fork")


def counter(key: str = "texts", value: float = 1, **tags: str) -> dict[str, Any]:
    return {"type": "COUNTER", "key": key, "value": value, "tags": tags}


def timer(milliseconds: float) -> dict[str, Any]:
    return {"type": "TIMER", "key": "seconds", "value": milliseconds, "tags": {}}


def total(store: MetricsStore, key: str = "texts", **tags: str) -> float:
    """Sum of a counter's series that have these labels."""
    return sum(
        numbers[0]
        for (_, name, labels), numbers in store.totals().items()
        if name == key and tags.items() <= dict(labels).items()
    )


def in_a_process(work: Callable[[], None]) -> int:
    """Exit code of a forked process that does something."""
    process = FORK.Process(target=work)
    process.start()
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def left_at_once() -> None:
    os._exit(0)


@pytest.mark.parametrize("end", [lambda: None, left_at_once, killed], ids=["end", "_exit", "kill"])
def test_nothing_is_lost_with_a_process(end: Callable[[], None]) -> None:
    """Twenty workers in turn, each ending as it likes: every increment is on the page."""
    store = MetricsStore()

    def work() -> None:
        for _ in range(50):
            store.update([counter(), timer(20)], "predict")
        end()

    sums = []
    for _ in range(20):
        in_a_process(work)
        sums.append(total(store))
    assert [50.0 * n for n in range(1, 21)] == sums
    (histogram,) = (v for (_, name, _), v in store.totals().items() if name == "seconds")
    assert 1000 == sum(histogram[1:])
    assert 20.0 == pytest.approx(histogram[0])


def test_the_regions_of_the_dead_are_inherited() -> None:
    """A worker that is restarted forever must not fill the memory or the page."""
    store = MetricsStore()
    for _ in range(30):
        in_a_process(lambda: store.update([counter()], "predict"))
    assert 1 == len(store.totals())
    assert [0] == sorted(store._readable)


def test_processes_that_live_together_do_not_share_a_region() -> None:
    """Two that add to one number at the same time would lose counts."""
    store, workers, each = MetricsStore(), 4, 2000
    barrier = FORK.Barrier(workers)

    def work() -> None:
        barrier.wait(60)
        for _ in range(each):
            store.update([counter()], "predict")

    processes = [FORK.Process(target=work) for _ in range(workers)]
    for process in processes:
        process.start()
    seen = [0.0]
    while any(process.is_alive() for process in processes):
        seen.append(total(store))
    assert sorted(seen) == seen
    assert workers * each == total(store)


def test_a_process_that_dies_while_it_adds_a_series_leaves_whole_series() -> None:
    """The next owner of the region must not read half a name."""
    store = MetricsStore()

    def work() -> None:
        store.update([counter(label="before")], "predict")
        region = store._own
        assert region is not None
        start = region._integers[0]
        region._integers[start] = 10_000
        region._numbers[start + 1] = 7.0
        killed()

    in_a_process(work)
    in_a_process(lambda: store.update([counter(label="after")], "predict"))
    assert 2 == total(store)
    assert {"before", "after"} == {dict(labels)["label"] for _, _, labels in store.totals()}


def test_threads_lose_no_increment() -> None:
    """2704: two threads that read before either writes lose one of two increments."""
    store = MetricsStore()

    def work() -> None:
        for _ in range(500):
            store.update([counter()], "predict")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 4000 == total(store)


@given(st.floats(min_value=0, max_value=100, allow_subnormal=False))
def test_a_bucket_holds_what_is_not_above_its_bound(seconds: float) -> None:
    """Prometheus' `le`: less or equal."""
    store = MetricsStore()
    store.update([timer(seconds * 1000)], "predict")
    ((_, numbers),) = store.totals().items()
    place = numbers[1:].index(1.0)
    measured = numbers[0]
    assert measured <= BOUNDS[place]
    assert place == 0 or BOUNDS[place - 1] < measured
    assert 1 == sum(numbers[1:])


@given(st.dictionaries(st.text(min_size=1), st.text(), max_size=4))
def test_labels_come_back_as_they_were(tags: dict[str, str]) -> None:
    """A label may be named and say whatever a model's config says."""
    store = MetricsStore()
    store.update([{"type": "COUNTER", "key": "texts", "value": 1, "tags": tags}], "predict")
    ((_, _, labels),) = store.totals()
    assert {**tags, "method": "predict"} == dict(labels)


def test_a_series_can_begin_at_zero() -> None:
    """`increase` does not see the step from no series to 1."""
    store = MetricsStore()
    store.begin([counter(label="positive"), timer(5)], "predict")
    assert [0.0] == store.totals()[
        "COUNTER", "texts", (("label", "positive"), ("method", "predict"))
    ]
    assert 0 == sum(store.totals()["TIMER", "seconds", (("method", "predict"),)])
    store.update([counter(label="positive")], "predict")
    store.begin([counter(label="positive")], "predict")
    assert 1 == total(store)


def test_a_full_region_costs_no_request(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What can't be counted is said once in the log; the request is answered all the same."""
    monkeypatch.setattr(metrics_store, "_REGION_BYTES", 4096)
    monkeypatch.setattr(metrics_store, "_REGIONS", 2)
    store = MetricsStore()
    for n in range(100):
        store.update([counter(label=str(n))], "predict")
        store.update([counter(label="0")], "predict")
    assert 101 == total(store, label="0")
    assert 1 == sum("no room to count" in record.message for record in caplog.records)


def test_more_processes_than_regions_still_count(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It may lose some counts, and says so; it must not fail."""
    monkeypatch.setattr(metrics_store, "_REGIONS", 1)
    store = MetricsStore()
    store.update([counter()], "predict")
    assert 0 == in_a_process(lambda: store.update([counter()], "predict"))
    assert 2 == total(store)


def test_a_kind_that_is_no_sum_is_refused() -> None:
    """A gauge can't be added up over processes."""
    with pytest.raises(ValueError, match="level is a GAUGE; a COUNTER or a TIMER is needed"):
        MetricsStore().update([{"type": "GAUGE", "key": "level", "value": 1}], "predict")
