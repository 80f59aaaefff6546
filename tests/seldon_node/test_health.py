"""What the server processes know of each other's health."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Event
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from seldon_node.health import LIVES, FailureFlags, WorkerHealth, answers


def report_and_wait(flags: FailureFlags, reported: Event, end: Event) -> None:
    flags.report(failing=True)
    reported.set()
    end.wait(60)


def test_a_failure_ends_with_its_process() -> None:
    """A worker that failed and was killed is replaced; its failure must not stay forever."""
    context = multiprocessing.get_context("fork")
    flags, reported, end = FailureFlags(), context.Event(), context.Event()
    worker = context.Process(target=report_and_wait, args=(flags, reported, end))
    worker.start()
    assert reported.wait(60)
    assert [worker.pid] == flags.failing()
    end.set()
    worker.join(60)
    assert [] == flags.failing()


def test_a_process_takes_its_failure_back() -> None:
    """The counterpart: while it lives, only it says that it is well again."""
    flags = FailureFlags()
    flags.report(failing=True)
    assert [os.getpid()] == flags.failing()
    flags.report(failing=False)
    assert [] == flags.failing()


class Counted(health.HealthServicer):
    """grpc's own health service; it counts how often it is asked."""

    asked = 0

    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802  gRPC's name
        self.asked += 1
        return super().Check(request, context)


@contextlib.contextmanager
def serving(address: str, servicer: Counted | None = None) -> Iterator[int]:
    """A gRPC server, with a health service if one is given; yields its port."""
    server = grpc.server(ThreadPoolExecutor(2))
    if servicer:
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port(address)
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


def living(status: int = health_pb2.HealthCheckResponse.SERVING) -> Counted:
    servicer = Counted()
    servicer.set(LIVES, status)
    return servicer


def private(workers: WorkerHealth, worker: int) -> str:
    return f"unix-abstract:{workers.private_address(worker)}"


def test_workers_that_do_not_answer_are_counted() -> None:
    """Each is asked on its own address, for the kernel picks who answers on the port."""
    with serving("127.0.0.1:0", living()) as port:
        workers = WorkerHealth(3, port)
        with serving(private(workers, 0), living()):
            assert "2 of 3 gRPC workers do not answer" == workers.problem()
        workers = WorkerHealth(2, port)
        with serving(private(workers, 0), living()), serving(private(workers, 1), living()):
            assert "" == workers.problem()


def test_a_worker_without_an_address_of_its_own_is_asked_on_the_port() -> None:
    """A sandbox may forbid it to listen there; it serves all the same."""
    with serving("127.0.0.1:0", living()) as port:
        workers, set_twice = WorkerHealth(1, port), WorkerHealth(1, port)
        workers.set_private(0, bound=False)
        assert "" == workers.problem()
        set_twice.set_private(0, bound=False)
        set_twice.set_private(0, bound=True)
        assert "1 of 1 gRPC workers do not answer" == set_twice.problem()


def test_a_failing_model_is_known_to_the_other_workers() -> None:
    """Health asks one worker, which answers for all."""
    workers = WorkerHealth(0, 0)
    assert "" == workers.problem()
    workers.failures.report(failing=True)
    assert "the last inference of another worker failed" == workers.problem()


def test_workers_are_asked_twice_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often health is asked for; what they said holds for that time."""
    now = 0.1
    monkeypatch.setattr(time, "monotonic", lambda: now)
    workers, worker = WorkerHealth(1, 0), living()
    with serving(private(workers, 0), worker):
        for now in (0.1, 0.3, 0.55):  # noqa: B007  read by the clock
            assert "" == workers.problem()
        assert 1 == worker.asked
    assert "" == workers.problem()
    now = 0.7
    assert "1 of 1 gRPC workers do not answer" == workers.problem()


def test_a_worker_that_starts_is_known_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused connection holds for as long as asking took, not for half a second."""
    monkeypatch.setattr(time, "monotonic", lambda: 0.1)
    workers = WorkerHealth(1, 0)
    assert "1 of 1 gRPC workers do not answer" == workers.problem()
    with serving(private(workers, 0), living()):
        assert "" == workers.problem()


@pytest.mark.parametrize(
    ("servicer", "expected"),
    [
        pytest.param(living(), True, id="serving"),
        pytest.param(living(health_pb2.HealthCheckResponse.NOT_SERVING), False, id="not serving"),
        pytest.param(Counted(), False, id="another server with health"),
        pytest.param(None, True, id="the wrapper's server without health"),
    ],
)
def test_who_answers(servicer: Counted | None, expected: bool) -> None:
    """An answer without a health service is one; a health service that does not know us is none."""
    with serving("127.0.0.1:0", servicer) as port:
        assert expected is answers(f"127.0.0.1:{port}")


def test_without_workers_none_is_missing() -> None:
    """The address of a worker that has ended."""
    assert not answers(private(WorkerHealth(1, 0), 0))
