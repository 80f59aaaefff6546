"""A rolling update under load: the new process starts, the old gets preStop and SIGTERM."""

from __future__ import annotations

import itertools
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
import requests
from seldon_core.proto.prediction_pb2_grpc import SeldonStub

from tests.rehearsal.cluster import containers, production, service_of
from tests.service import Service
from tests.wire import to_proto

pytestmark = pytest.mark.long

CALLERS = 3
GOOD = {"data": {"ndarray": ["This film is so good"]}}
LONG = {"data": {"ndarray": ["It's neither funny nor clever. " * 80] * 8}}


class Balancer:
    """Sends each request to the next ready process, and never tries again.

    Attributes:
        answered: requests by process.
        lost: what went wrong.
        has_lost: whether anything did.
    """

    def __init__(self) -> None:
        self.answered: Counter[Service] = Counter()
        self.lost: list[str] = []
        self.has_lost = threading.Event()
        self._ready: tuple[Service, ...] = ()
        self._turn = itertools.count()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(call,))
            for call in (over_rest, over_grpc)
            for _ in range(CALLERS)
        ]

    def set_ready(self, *services: Service) -> None:
        """What the cluster's endpoints are from now on."""
        with self._lock:
            self._ready = services

    def _run(self, call: Callable[[Service], None]) -> None:
        while not self._stop.is_set():
            with self._lock:
                service = self._ready[next(self._turn) % len(self._ready)]
            try:
                call(service)
            except (requests.RequestException, grpc.RpcError) as error:
                self.lost.append(repr(error))
                self.has_lost.set()
            else:
                with self._lock:
                    self.answered[service] += 1

    def wait_for_answers(self, service: Service, more: int) -> None:
        """Wait until a process has answered so many more requests."""
        target = self.answered[service] + more
        service.wait_for(lambda: self.answered[service] >= target, f"{more} more answers")

    def __enter__(self) -> Balancer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def over_rest(service: Service) -> None:
    service.post(GOOD).raise_for_status()


def over_grpc(service: Service) -> None:
    """On a connection of its own, as a balancer of connections gives it."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"127.0.0.1:{service.grpc}", options=options) as channel:
        SeldonStub(channel).Predict(to_proto(GOOD), timeout=60)


def test_no_request_fails() -> None:
    """Old and new side by side, the endpoints late, a long request still running at SIGTERM."""
    (container,) = containers(production())
    hook = container.spec["lifecycle"]["preStop"]["exec"]["command"]
    grace = container.pod["terminationGracePeriodSeconds"]
    with service_of(container).start() as old, service_of(container).launch() as new:
        balancer = Balancer()
        balancer.set_ready(old)
        with balancer:
            balancer.wait_for_answers(old, 50)
            new.wait_for(lambda: new.health() == 200, "readiness")
            balancer.set_ready(old, new)
            balancer.wait_for_answers(new, 50)
            pause = subprocess.Popen(hook)
            balancer.wait_for_answers(old, 50)
            balancer.set_ready(new)
            assert 0 == pause.wait(grace)
            long = answer_of(old)
            old.process.terminate()
            balancer.wait_for_answers(new, 100)
            assert 200 == long()
            assert 0 == old.process.wait(grace)
            balancer.wait_for_answers(new, 50)
        assert [] == balancer.lost
        assert [] == old.processes()


def test_a_lost_request_would_be_noticed() -> None:
    """SIGTERM to a process that is still among the endpoints, as without preStop."""
    (container,) = containers(production())
    with service_of(container).start() as old:
        balancer = Balancer()
        balancer.set_ready(old)
        with balancer:
            balancer.wait_for_answers(old, 50)
            old.process.terminate()
            assert balancer.has_lost.wait(container.pod["terminationGracePeriodSeconds"])


def answer_of(service: Service) -> Callable[[], int]:
    """Begin a long request; the function returned waits for its status."""
    status: list[int] = []
    thread = threading.Thread(target=lambda: status.append(service.post_status(LONG)))
    thread.start()
    service.wait_for(lambda: busy(service) > 0, "the long request to arrive")

    def wait() -> int:
        thread.join()
        return status[0]

    return wait


def busy(service: Service) -> int:
    """Connections established to the two service ports, seen from the server."""
    ports = {service.http, service.grpc}
    count = 0
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            count += state == "01" and int(local.rpartition(":")[2], 16) in ports
    return count
