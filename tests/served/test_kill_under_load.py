"""kill -9 and SIGTERM under load: nothing is lost but what was inside the killed worker."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
import requests

from tests import toy
from tests.served.test_lifecycle import listening_on
from tests.service import Service
from tests.wire import to_proto

pytestmark = pytest.mark.long

CALLERS = 8
GOOD = {"strData": "good film"}


class Load:
    """Callers that ask without a pause, each on a new connection over REST."""

    def __init__(self, service: Service, call: Callable[[Service], bool]) -> None:
        self.answered = 0
        self.lost: list[str] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._service = service
        self._call = call
        self._threads = [threading.Thread(target=self._run) for _ in range(CALLERS)]

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                assert self._call(self._service)
            except (requests.RequestException, grpc.RpcError) as error:
                with self._lock:
                    self.lost.append(str(error))
            else:
                with self._lock:
                    self.answered += 1

    def wait_for_answers(self, more: int) -> None:
        """Wait until so many more requests have been answered."""
        target = self.answered + more
        self._service.wait_for(lambda: self.answered >= target, f"{more} more answers")

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        self.wait_for_answers(50)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def over_rest(service: Service) -> bool:
    answer = service.post(GOOD)
    answer.raise_for_status()
    return len(answer.json()["data"]["tensor"]["values"]) == 2


def over_grpc(service: Service) -> bool:
    """A call that waits for a server to be there, as a patient client does."""
    channel = grpc.insecure_channel(
        f"127.0.0.1:{service.grpc}",
        options=[("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 200)],
    )
    with channel:
        from seldon_core.proto.prediction_pb2_grpc import SeldonStub

        answer = SeldonStub(channel).Predict(to_proto(GOOD), timeout=30, wait_for_ready=True)
    return bool(answer.data.tensor.values)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    path = toy.write(tmp_path / "toy", positions=514)
    with Service(MODEL_URI=str(path)).start() as running:
        yield running


@pytest.mark.parametrize(
    ("call", "port"),
    [pytest.param(over_rest, "http", id="REST"), pytest.param(over_grpc, "grpc", id="gRPC")],
)
def test_a_killed_worker_takes_only_its_own_requests(
    service: Service, call: Callable[[Service], bool], port: str
) -> None:
    """At most one request of each caller was inside; every later one is answered."""
    with Load(service, call) as load:
        worker = listening_on(getattr(service, port))[-1]
        os.kill(worker, signal.SIGKILL)
        service.wait_for(lambda: worker not in service.processes(), "its end")
        load.wait_for_answers(100)
    assert len(load.lost) <= CALLERS, load.lost


def test_a_killed_metrics_server_costs_no_request(service: Service) -> None:
    """Counting and answering must not hang on the page that shows the counts."""
    with Load(service, over_rest) as load:
        for pid in listening_on(service.metrics):
            os.kill(pid, signal.SIGKILL)
        load.wait_for_answers(100)
        service.wait_for(lambda: bool(listening_on(service.metrics)), "its return")
    assert [] == load.lost
    service.wait_for(
        lambda: service.counter("sentiment_texts_total") == load.answered, "every text counted"
    )


def test_sigterm_under_load_answers_what_it_took(service: Service) -> None:
    """At most the connection that each caller had just opened is cut; later ones are refused.

    In a pod no connection is opened any more at that time: preStop waits for the endpoints.
    """
    with Load(service, over_rest) as load:
        service.process.terminate()
        assert 0 == service.process.wait(20)
    cut = [error for error in load.lost if "refused" not in error]
    assert len(cut) <= CALLERS, cut
    assert [] == service.processes()
