"""Threads kept on CPUs, where a container has CPUs to itself."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from roberta_sentiment.container import available_cpus, keep_thread_on, serving_cpus
from roberta_sentiment.run.session import open_session
from tests import toy

QUOTA = "200000 100000"
PATIENCE_S = 10.0
TASKS = Path("/proc/self/task")


@pytest.fixture
def three_cpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {7, 3, 5})
    yield


SERVICE = """
import json
import multiprocessing
import os

from roberta_sentiment.container import ServingCpus

os.sched_getaffinity = lambda _: {7, 3, 5}
cpus = ServingCpus()
context = multiprocessing.get_context("fork")

def serve(pipe):
    pipe.send((cpus.claim(), cpus.claim()))
    pipe.recv()

def start():
    ours, theirs = context.Pipe()
    server = context.Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    return server, ours.recv()

servers, claimed = zip(*[start() for _ in range(4)])
servers[1].kill()
servers[1].join()
_, successor = start()
print(json.dumps([*claimed, successor]))
"""
"""Four servers of a service with three CPUs, and one more when the second has been killed."""


def test_processes_take_turns() -> None:
    """Two workers on one CPU would halve each other; a dead one frees its CPU."""
    run = subprocess.run(
        [sys.executable, "-c", SERVICE], capture_output=True, text=True, check=True, timeout=60
    )
    first, second, third, fourth, successor = json.loads(run.stdout)
    assert [[3, 3], [5, 5], [7, 7]] == [first, second, third]
    assert {3, 5, 7} >= set(fourth)
    assert second == successor


@pytest.mark.parametrize(
    ("exclusive", "quota", "claims"),
    [
        pytest.param(True, "max 100000", True, id="no quota"),
        pytest.param(True, "300000 100000", True, id="a quota of all of them"),
        pytest.param(True, QUOTA, False, id="a quota of fewer"),
        pytest.param(False, "max 100000", False, id="not asked for"),
    ],
)
@pytest.mark.usefixtures("three_cpus")
def test_shared_cpus_are_left_to_the_kernel(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, exclusive: bool, quota: str, claims: bool
) -> None:
    """On a busy CPU of a shared node, a thread that may not move waits for other processes."""
    (tmp_path / "cpu.max").write_text(quota)
    with caplog.at_level(logging.WARNING):
        assert claims == (serving_cpus(exclusive=exclusive, cgroup=tmp_path) is not None)
    warned = "may use 2 CPUs but run on 3" in caplog.text
    assert warned == (exclusive and quota == QUOTA)


def test_one_cpu_needs_no_choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """There is nowhere to move to."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {4})
    assert serving_cpus(exclusive=True, cgroup=tmp_path) is None


def test_a_kept_thread_keeps_those_it_starts() -> None:
    """The wrapper starts its request threads after the model is loaded."""
    cpu = max(os.sched_getaffinity(0))
    seen: list[set[int]] = []

    def serve() -> None:
        keep_thread_on(cpu)
        request = threading.Thread(target=lambda: seen.append(os.sched_getaffinity(0)))
        request.start()
        request.join()

    before = os.sched_getaffinity(0)
    worker = threading.Thread(target=serve)
    worker.start()
    worker.join()
    assert [{cpu}] == seen
    assert before == os.sched_getaffinity(0)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="this machine has one CPU")
@pytest.mark.parametrize("threads", [2, available_cpus() + 2])
def test_a_session_leaves_its_callers_cpu_alone(tmp_path: Path, threads: int) -> None:
    """The caller is one of the threads of a run; two of them on one CPU wait for each other.

    Each of the session's own threads moves when it starts, which may be after the session is there.
    """
    path = tmp_path / "model.onnx"
    onnx.save(toy.graph(), path)
    everywhere = os.sched_getaffinity(0)
    cpu = min(everywhere)
    before = set(TASKS.iterdir())
    session = open_session(path, threads=threads, caller_cpu=cpu)
    pool = [int(task.name) for task in set(TASKS.iterdir()) - before]
    assert session.has_mask
    assert threads - 1 == len(pool)
    deadline = time.monotonic() + PATIENCE_S
    while any(len(os.sched_getaffinity(thread)) > 1 for thread in pool):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert everywhere - {cpu} >= set().union(*map(os.sched_getaffinity, pool))
