"""How the processes of the service are made, watched and ended; `test_supervisor` replaces them."""

from __future__ import annotations

import gc
import multiprocessing
import os
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from seldon_core import gunicorn_utils, metadata, microservice, wrapper

from roberta_sentiment.serving import grpc_stop
from seldon_node import host_limits, logs, processes, supervisor
from seldon_node.supervisor import Server

LIMIT_S = 60


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which another program listens."""
    with socket.create_server(("0.0.0.0", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture(autouse=True)
def _original_wrapper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo the repairs after each test."""
    for owner, names in {
        wrapper: ("SeldonModelGRPC", "get_grpc_server"),
        microservice: (
            "start_servers", "_make_grpc_server", "_wait_forever", "_make_rest_metrics_server",
        ),
        gunicorn_utils.StandaloneApplication: ("load_config",),
        Arbiter: ("reap_workers",),
    }.items():  # fmt: skip
        for name in names:
            monkeypatch.setattr(owner, name, getattr(owner, name))


def arguments(**changes: int) -> Any:
    """What the wrapper reads from its command line; ports of 0 are free ones."""
    given = {"http_port": 0, "grpc_port": 0, "metrics_port": 0, "workers": 1, "threads": 1}
    return SimpleNamespace(**{**given, "grpc_workers": 1, "grpc_threads": 1, **changes})


@pytest.mark.parametrize("port", ["http_port", "grpc_port", "metrics_port"])
def test_a_taken_port_aborts_startup(taken: int, port: str) -> None:
    """With a sentence, before a process is made that could only fail."""
    processes.repair()
    with pytest.raises(SystemExit, match=rf"cannot start: .*{taken}"):
        microservice._make_rest_metrics_server(None, arguments(**{port: taken}))


def test_a_port_of_grpc_is_not_reserved_without_workers(
    taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service without gRPC needs none."""
    monkeypatch.setattr(microservice, "_make_rest_metrics_server", lambda metrics, args: "server")
    processes.repair()
    args = arguments(grpc_workers=0, grpc_port=taken)
    assert "server" == microservice._make_rest_metrics_server(None, args)


def test_too_few_tasks_abort_startup(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that grants fewer than the servers need would kill them later."""
    monkeypatch.setattr(host_limits, "tasks_needed", lambda *counts: 2**40)
    monkeypatch.setattr(host_limits, "process_limit", lambda cgroup: 100)
    processes.repair()
    with pytest.raises(SystemExit, match=r"cannot start: .* 100 processes and threads"):
        microservice._make_rest_metrics_server(None, arguments())


def test_each_grpc_worker_is_a_server_of_its_own() -> None:
    """So that the supervisor replaces one without the others."""
    processes.repair()
    side = microservice._make_grpc_server(object(), None, arguments(grpc_workers=2), {})
    assert ["gRPC worker 0", "gRPC worker 1"] == [server.name for server in side.servers()]


@pytest.mark.parametrize("permitted", [True, False])
def test_a_grpc_worker_has_a_socket_of_its_own(permitted: bool) -> None:
    """For health, which learns where a sandbox forbids it."""
    known: list[tuple[int, bool]] = []
    addresses: list[str] = []

    def add_insecure_port(address: str) -> None:
        if not permitted:
            raise RuntimeError("not permitted")
        addresses.append(address)

    server: Any = SimpleNamespace(add_insecure_port=add_insecure_port)
    workers: Any = SimpleNamespace(
        private_address=lambda worker: f"worker-{worker}",
        set_private=lambda worker, bound: known.append((worker, bound)),
    )
    processes._listen_privately(server, workers, 1)
    assert [(1, permitted)] == known
    assert (["unix-abstract:worker-1"] if permitted else []) == addresses


def test_a_gunicorn_that_fails_to_boot_ends_with_its_code() -> None:
    """Not with a stack trace."""

    def serve() -> None:
        raise HaltServer("worker failed to boot", 3)

    with pytest.raises(SystemExit) as caught:
        processes._run_gunicorn(serve)
    assert 3 == caught.value.code


def test_the_service_runs_every_server_that_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under names whose first word says what it serves, and ends with the supervisor's code."""
    ran: list[str] = []

    def supervise(servers: list[Server], on_restart: object) -> Any:
        ran.extend(server.name for server in servers)
        return SimpleNamespace(run=lambda: 3)

    def leave(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(supervisor, "Supervisor", supervise)
    monkeypatch.setattr(logs, "install", lambda: None)
    monkeypatch.setattr(gc, "freeze", lambda: None)
    monkeypatch.setattr(os, "_exit", leave)
    processes.repair()
    side = microservice._make_grpc_server(object(), None, arguments(), {})
    with pytest.raises(SystemExit) as caught:
        microservice.start_servers(lambda: None, side, lambda: None, lambda: None)
    assert 3 == caught.value.code
    assert ["REST server", "gRPC worker 0", "metrics server", "custom service"] == ran
    assert (700, 10, 10) == gc.get_threshold()


def test_wrong_metadata_are_refused() -> None:
    """The repaired check leaves out Seldon's own schema, not what it says of the metadata."""
    processes.repair()
    assert ["1"] == metadata.validate_model_metadata({"versions": ["1"]})["versions"]
    with pytest.raises(metadata.SeldonInvalidMetadataError):
        metadata.validate_model_metadata({"versions": [1]})


def test_a_grpc_worker_stops_on_sigterm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever thread the kernel gives the signal to."""
    context = multiprocessing.get_context("fork")
    ready, stopped = context.Event(), context.Event()
    read, server = os.read, SimpleNamespace()

    def read_when_ready(file: int, size: int) -> bytes:
        ready.set()
        return read(file, size)

    def serve() -> None:
        monkeypatch.setattr(grpc_stop, "stop", lambda calls, grace_s: stopped.set())
        monkeypatch.setattr(os, "read", read_when_ready)
        processes._serve_until_sigterm(server)  # type: ignore[arg-type]

    worker = context.Process(target=serve)
    worker.start()
    assert ready.wait(LIMIT_S)
    worker.terminate()
    worker.join(LIMIT_S)
    assert 0 == worker.exitcode
    assert stopped.is_set()
