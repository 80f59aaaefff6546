"""Restarts of server processes: each is counted by its reason, and none costs a count."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from roberta_sentiment.container import CGROUP
from seldon_node import processes, restarts
from seldon_node.metrics_store import MetricsStore
from seldon_node.restarts import Restarts
from tests import toy
from tests.served.test_lifecycle import grpc_answers, listening_on
from tests.service import Service
from tests.wire import to_proto

GOOD = {"strData": "This film is so good"}
MAX_REQUESTS = 10
RESTARTS = "sentiment_worker_restarts_total"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a tiny model, whose REST worker is replaced every few requests."""
    path = toy.write(tmp_path_factory.mktemp("toy") / "toy", positions=514)
    environment = {"MODEL_URI": str(path), "GUNICORN_MAX_REQUESTS": str(MAX_REQUESTS)}
    with Service(**environment).start() as running:
        running.wait_for(lambda: grpc_answers(running), "gRPC")
        yield running


def restarted(service: Service) -> dict[tuple[str, str], float]:
    """Restarts by server and reason, without the zeros."""
    return {
        (sample.labels["server"], sample.labels["reason"]): sample.value
        for family in text_string_to_metric_families(service.scrape())
        for sample in family.samples
        if sample.name == RESTARTS and sample.value
    }


def counted(service: Service) -> float:
    return service.counter("sentiment_answered_requests_total", method="predict")


def answered(service: Service) -> int:
    """Post until it is answered, as a caller with retries does; a REST worker may be changing."""
    service.wait_for(lambda: service.post_status(GOOD) == 200, "an answer")
    return 1


def test_no_count_is_lost_when_workers_end_cleanly(service: Service) -> None:
    """GUNICORN_MAX_REQUESTS replaces a worker every few requests: every answer is counted."""
    before, restarts_before = counted(service), service.counter(RESTARTS, reason="exited")
    answers = sum(service.post_status(GOOD) == 200 for _ in range(12 * MAX_REQUESTS))
    assert answers == counted(service) - before
    assert answers > 0
    service.wait_for(
        lambda: service.counter(RESTARTS, reason="exited") - restarts_before >= 5, "restarts"
    )
    assert not {server for server, _ in restarted(service)} - {"rest", "metrics"}


@pytest.mark.parametrize(
    ("number", "reason"), [(signal.SIGKILL, "killed"), (signal.SIGSEGV, "killed")], ids=str
)
@pytest.mark.parametrize("server", ["rest", "grpc"])
def test_no_count_is_lost_when_a_worker_is_killed(
    service: Service, server: str, number: int, reason: str
) -> None:
    """Neither REST's, which gunicorn replaces, nor gRPC's, which the supervisor replaces."""
    port = service.http if server == "rest" else service.grpc
    answered(service)
    service.predict(to_proto(GOOD))
    before = counted(service)
    restarts_before = restarted(service).get((server, reason), 0)
    worker = listening_on(port)[-1]
    os.kill(worker, number)
    service.wait_for(
        lambda: restarted(service).get((server, reason), 0) == restarts_before + 1, "its count"
    )
    assert before == counted(service)
    service.wait_for(lambda: service.health() == 200, "recovery")
    over_rest = answered(service)
    service.stub().Predict(to_proto(GOOD), timeout=60, wait_for_ready=True)
    assert over_rest + 1 == counted(service) - before


def test_the_metrics_server_is_counted_too(service: Service) -> None:
    """Its own worker, and its gunicorn, which comes back under the supervisor."""
    for holder in (-1, 0):
        before = restarted(service).get(("metrics", "killed"), 0)
        os.kill(listening_on(service.metrics)[holder], signal.SIGKILL)

        def is_counted(before: float = before) -> bool:
            try:
                return restarted(service).get(("metrics", "killed"), 0) > before
            except requests.RequestException:
                return False

        service.wait_for(is_counted, "its count")


@pytest.fixture
def cgroup(tmp_path: Path) -> Path:
    (tmp_path / "memory").mkdir()
    return tmp_path


def kill_for_memory(cgroup: Path, version: int, kills: int) -> None:
    """What the kernel's files say after so many kills."""
    v2 = f"low 0\nhigh 0\nmax 7\noom {kills}\noom_kill {kills}\noom_group_kill 0\n"
    v1 = f"oom_kill_disable 0\nunder_oom 0\noom_kill {kills}\n"
    name, text = {2: ("memory.events", v2), 1: ("memory/memory.oom_control", v1)}[version]
    (cgroup / name).write_text(text, encoding="ascii")


def reasons(store: MetricsStore) -> dict[str, float]:
    return {
        dict(labels)["reason"]: numbers[0] for (_, _, labels), numbers in store.totals().items()
    }


@pytest.mark.parametrize("version", [1, 2])
def test_a_kill_for_memory_is_distinguished_from_others(cgroup: Path, version: int) -> None:
    """Both end with SIGKILL; the kernel's own count distinguishes them."""
    kill_for_memory(cgroup, version, 3)
    store = MetricsStore()
    counter = Restarts(store, cgroup)
    counter.count("rest", -signal.SIGKILL)
    assert {"killed": 1} == reasons(store)
    kill_for_memory(cgroup, version, 4)
    counter.count("rest", -signal.SIGKILL)
    counter.count("rest", -signal.SIGKILL)
    assert {"killed": 2, "out_of_memory": 1} == reasons(store)


@pytest.fixture
def small_cgroup(tmp_path: Path) -> Iterator[Path]:
    """A memory cgroup of version 1 with 60 MB, as a container's mount shows it."""
    real = CGROUP / "memory" / f"test-restarts-{os.getpid()}"
    try:
        real.mkdir()
        (real / "memory.limit_in_bytes").write_text("60000000", encoding="ascii")
    except OSError:
        pytest.skip("no memory cgroup of version 1 can be made here")
    (tmp_path / "memory").symlink_to(real)
    yield tmp_path
    real.rmdir()


def test_the_kernel_itself_kills_for_memory(small_cgroup: Path) -> None:
    """Its real files, and the real end of a real process that takes too much."""
    store = MetricsStore()
    counter = Restarts(store, small_cgroup)
    grow = f"""
import os, pathlib
pathlib.Path({str(small_cgroup / "memory" / "cgroup.procs")!r}).write_text(str(os.getpid()))
bytearray(b"a" * 200_000_000)
"""
    counter.count("rest", subprocess.run([sys.executable, "-c", grow], check=False).returncode)
    assert {"out_of_memory": 1} == reasons(store)


@pytest.mark.parametrize(
    ("code", "hung", "reason"),
    [
        (0, False, "exited"),
        (1, False, "failed"),
        (-signal.SIGSEGV, False, "killed"),
        (-signal.SIGABRT, True, "hung"),
        (None, False, "unknown"),
    ],
)
def test_reasons(tmp_path: Path, code: int | None, hung: bool, reason: str) -> None:
    """Where the kernel says nothing of memory (no cgroup files) the signal alone decides."""
    store = MetricsStore()
    Restarts(store, tmp_path).count("grpc", code, hung=hung)
    assert {reason: 1} == reasons(store)


def test_workers_that_end_with_their_server_are_no_restart(tmp_path: Path) -> None:
    """A rolling update must not look like workers that die."""
    store = MetricsStore()
    child_exit = processes._count_worker(Restarts(store, tmp_path), "rest")
    worker = SimpleNamespace(end=None, aborted=False)
    child_exit(SimpleNamespace(LISTENERS=[]), worker)
    assert {} == store.totals()
    child_exit(SimpleNamespace(LISTENERS=[object()]), worker)
    assert {"unknown": 1} == reasons(store)


@pytest.mark.parametrize(
    "end", [lambda: os._exit(7), lambda: os.kill(os.getpid(), 9)], ids=["7", "-9"]
)
def test_the_end_of_a_worker_is_known_before_it_is_reaped(end: Any) -> None:
    """Gunicorn's hook does not say how a worker ended."""
    pid = os.fork()
    if pid == 0:
        end()
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    ended, other = SimpleNamespace(), SimpleNamespace()
    restarts.record_exits(SimpleNamespace(WORKERS={pid: ended, 2**22 - 1: other}))
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == restarts.exit_code(ended.end)
    assert not hasattr(other, "end")
