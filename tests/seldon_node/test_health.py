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

from seldon_node.health import LIVES, Board, Peers, answers


def report_and_wait(board: Board, reported: Event, end: Event) -> None:
    board.report(failing=True)
    reported.set()
    end.wait(60)


def test_a_failure_ends_with_its_process() -> None:
    """A worker that failed and was killed is replaced; its failure must not stay for ever."""
    context = multiprocessing.get_context("fork")
    board, reported, end = Board(), context.Event(), context.Event()
    worker = context.Process(target=report_and_wait, args=(board, reported, end))
    worker.start()
    assert reported.wait(60)
    assert [worker.pid] == board.failing()
    end.set()
    worker.join(60)
    assert [] == board.failing()


def test_a_process_takes_its_failure_back() -> None:
    """The counterpart: while it lives, only it says that it is well again."""
    board = Board()
    board.report(failing=True)
    assert [os.getpid()] == board.failing()
    board.report(failing=False)
    assert [] == board.failing()


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


def private(peers: Peers, worker: int) -> str:
    return f"unix-abstract:{peers.private_address(worker)}"


def test_workers_that_do_not_answer_are_counted() -> None:
    """Each is asked on its own address, for the kernel picks who answers on the port."""
    with serving("127.0.0.1:0", living()) as port:
        peers = Peers(3, port)
        with serving(private(peers, 0), living()):
            assert "2 of 3 gRPC workers do not answer" == peers.complaint()
        peers = Peers(2, port)
        with serving(private(peers, 0), living()), serving(private(peers, 1), living()):
            assert "" == peers.complaint()


def test_a_worker_without_an_address_of_its_own_is_asked_on_the_port() -> None:
    """A sandbox may forbid it to listen there; it serves all the same."""
    with serving("127.0.0.1:0", living()) as port:
        peers, told_twice = Peers(1, port), Peers(1, port)
        peers.note_private(0, bound=False)
        assert "" == peers.complaint()
        told_twice.note_private(0, bound=False)
        told_twice.note_private(0, bound=True)
        assert "1 of 1 gRPC workers do not answer" == told_twice.complaint()


def test_a_failing_model_is_told_to_the_other_workers() -> None:
    """Health asks one worker, which answers for all."""
    peers = Peers(0, 0)
    assert "" == peers.complaint()
    peers.board.report(failing=True)
    assert "the last inference of another worker failed" == peers.complaint()


def test_workers_are_asked_twice_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often health is asked for; what they said holds for that time."""
    now = 0.1
    monkeypatch.setattr(time, "monotonic", lambda: now)
    peers, worker = Peers(1, 0), living()
    with serving(private(peers, 0), worker):
        for now in (0.1, 0.3, 0.55):  # noqa: B007  read by the clock
            assert "" == peers.complaint()
        assert 1 == worker.asked
    assert "" == peers.complaint()
    now = 0.7
    assert "1 of 1 gRPC workers do not answer" == peers.complaint()


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


def test_nobody_does_not_answer() -> None:
    """The address of a worker that has ended."""
    assert not answers(private(Peers(1, 0), 0))
