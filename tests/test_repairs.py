"""Each defect of the wrapper that we repair, shown with its repair left out."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import grpc
import pytest
import requests
from seldon_core import metrics as wrapper_metrics
from seldon_core.proto import prediction_pb2

from seldon_node import repairs
from tests import toy
from tests.service import SETTLE_S, Service
from tests.test_lifecycle import grpc_answers, listening_on
from tests.wire import to_proto

WHY = "upstream has mended this: delete the repair"


@pytest.fixture
def without(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A service with one repair left out."""
    path = toy.write(tmp_path / "toy", positions=514)
    with Service(MODEL_URI=str(path), SELDON_REPAIRS_OFF=request.param).start() as service:
        service.wait_for(lambda: grpc_answers(service), "gRPC")
        yield service


@pytest.mark.parametrize("without", ["http_errors"], indirect=True)
def test_http_errors(without: Service) -> None:
    """4930: an unknown path, a wrong method and a wrong content type are a 500."""
    answers = [
        requests.delete(without.url("/predict"), timeout=10),
        requests.post(without.url("/predict"), data="{}", timeout=10),
    ]
    assert [500, 500] == [answer.status_code for answer in answers], WHY


@pytest.mark.parametrize("without", ["grpc_errors"], indirect=True)
def test_grpc_errors(without: Service) -> None:
    """3924: an error is UNKNOWN whatever it was, and 4 MiB are the limit."""
    with pytest.raises(grpc.RpcError) as caught:
        without.stub().SendFeedback(prediction_pb2.Feedback(), timeout=10)
    assert grpc.StatusCode.UNKNOWN == caught.value.code(), WHY
    with pytest.raises(grpc.RpcError) as caught:
        without.predict(to_proto({"strData": "a" * 5 * 2**20}))
    assert "larger than max" in str(caught.value.details()), WHY


@pytest.mark.parametrize("without", ["metrics"], indirect=True)
def test_a_reward_of_zero(without: Service) -> None:
    """2115: a reward of 0 is not counted at all."""
    body = {"request": {"strData": "good"}, "truth": {"strData": "negative"}, "reward": 0}
    assert 200 == without.post(body, "/api/v1.0/feedback").status_code
    assert 0 == without.counter("seldon_api_model_feedback_total"), WHY


@pytest.mark.parametrize("without", ["processes"], indirect=True)
def test_sigterm(without: Service) -> None:
    """7113: after SIGTERM the gRPC side lives on, and the process with it."""
    without.process.terminate()
    without.wait_for(lambda: not listening_on(without.http), "the end of REST")
    assert grpc_answers(without), WHY
    assert without.process.poll() is None, WHY
    for pid in without.processes():
        os.kill(pid, signal.SIGKILL)


class RacingLock:
    """A lock after which two threads wait for each other: both read before either writes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._barrier = threading.Barrier(2, timeout=5)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        self._barrier.wait()


def _count_with(update: Any) -> float:
    """What a counter says after two threads have added 1 to it."""

    class Store:
        """As much of SeldonMetrics as an update touches."""

        data: ClassVar[dict[int, Any]] = {}
        _lock = RacingLock()

        def worker_id_func(self) -> int:
            return 1

    store = Store()
    metric = {"type": "COUNTER", "key": "test_race", "value": 1, "tags": {}}
    threads = [
        threading.Thread(target=lambda: update(store, [dict(metric, tags={})], "predict"))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    time.sleep(SETTLE_S)
    ((_, entry),) = ((k, v) for k, v in store.data[1].items() if k[1] == "test_race")
    return float(entry["value"])


def test_threads_lose_no_increment() -> None:
    """2704: two threads that read before either writes lose one of two increments."""
    assert 1 == _count_with(repairs.original("metrics")), WHY
    assert 2 == _count_with(wrapper_metrics.SeldonMetrics.update)


def test_no_request_waits_for_the_store() -> None:
    """The store is another process: under load, each of its answers costs a turn of the CPU."""
    gate, writing = threading.Event(), threading.Event()

    class Slow(dict[int, Any]):
        def __setitem__(self, worker: int, counted: Any) -> None:
            writing.set()
            gate.wait(30)
            super().__setitem__(worker, counted)

    class Store:
        data = Slow()

        def worker_id_func(self) -> int:
            return 1

    store = Store()
    metric = {"type": "COUNTER", "key": "slow", "value": 1}
    for _ in range(3):
        wrapper_metrics.SeldonMetrics.update(store, [metric], "predict")
        assert writing.wait(30)
    assert not store.data
    gate.set()
    time.sleep(SETTLE_S)
    ((_, entry),) = store.data[1].items()
    assert 3 == entry["value"]


def test_timers_agree_with_the_wrapper() -> None:
    """The repaired store must fill the wrapper's own buckets, or histograms would be wrong."""
    data: dict[Any, Any] = {}
    expected, total = [0.0] * (len(wrapper_metrics.BINS) - 1), 0.0
    for milliseconds in (0, 0.5, 1, 1.3, 20, 29_999, 40_000):
        metric = {"type": "TIMER", "key": "t", "value": milliseconds}
        repairs._add(data, metric, "predict")
        expected, total = wrapper_metrics.SeldonMetrics._update_hist(
            milliseconds / 1000, expected, total
        )
    ((_, entry),) = data.items()
    assert (expected, pytest.approx(total)) == entry["value"]
