"""The parent of the server processes, with processes of a few lines, run as a process itself."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from seldon_node import supervisor
from seldon_node.supervisor import BOOT_FAILED, Server, Supervisor

LIMIT_S = 60
FORK = multiprocessing.get_context("fork")


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, f"no {what} in {LIMIT_S} s"
        time.sleep(0.01)


def lines(file: Path) -> list[str]:
    return file.read_text(encoding="ascii").split() if file.exists() else []


def append(file: Path, word: object) -> None:
    with file.open("a", encoding="ascii") as opened:
        opened.write(f"{word}\n")


def serve(pids: Path) -> None:
    """Write down the own pid and run until SIGTERM."""
    append(pids, os.getpid())
    while True:
        signal.pause()


def supervise(servers: list[Server], restarts: Path) -> None:
    sys.exit(Supervisor(servers, lambda server, code: append(restarts, code)).run())


@contextlib.contextmanager
def running(restarts: Path, *targets: Callable[[], None]) -> Iterator[BaseProcess]:
    """A supervisor of a server for each target."""
    servers = [Server(f"server {i}", target) for i, target in enumerate(targets)]
    process = FORK.Process(target=supervise, args=(servers, restarts))
    process.start()
    try:
        yield process
    finally:
        if process.exitcode is None:
            process.terminate()
        process.join(LIMIT_S)


def is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_a_signal_ends_every_server(tmp_path: Path, number: signal.Signals) -> None:
    """And the exit code is 0: the end was asked for."""
    pids = tmp_path / "pids"
    with running(tmp_path / "restarts", lambda: serve(pids), lambda: serve(pids)) as process:
        wait_for(lambda: len(lines(pids)) == 2, "servers")
        os.kill(process.pid or 0, number)
        process.join(LIMIT_S)
        assert 0 == process.exitcode
    assert not any(map(is_alive, lines(pids)))
    assert [] == lines(tmp_path / "restarts")


def test_a_server_that_dies_is_restarted(tmp_path: Path) -> None:
    """It alone, again and again, and each end is reported with its exit code."""
    pids, others, restarts = tmp_path / "pids", tmp_path / "others", tmp_path / "restarts"
    with running(restarts, lambda: serve(pids), lambda: serve(others)):
        for starts in (1, 2):
            wait_for(lambda: len(lines(pids)) == starts, "start")  # noqa: B023
            os.kill(int(lines(pids)[-1]), signal.SIGKILL)
        wait_for(lambda: len(lines(pids)) == 3, "restart")
    assert ["-9", "-9"] == lines(restarts)
    assert 1 == len(lines(others))


@pytest.mark.parametrize("code", [1, BOOT_FAILED])
def test_a_server_that_cannot_start_ends_the_service(tmp_path: Path, code: int) -> None:
    """A restart would not help; the others end with it."""
    pids = tmp_path / "pids"
    with running(tmp_path / "restarts", lambda: serve(pids), lambda: sys.exit(code)) as process:
        process.join(LIMIT_S)
        assert code == process.exitcode
    assert not any(map(is_alive, lines(pids)))


def test_a_server_ends_with_its_supervisor(tmp_path: Path) -> None:
    """However that ends: a server that nobody watches holds its port."""
    pids = tmp_path / "pids"
    with running(tmp_path / "restarts", lambda: serve(pids)) as process:
        wait_for(lambda: lines(pids), "server")
        process.kill()
        wait_for(lambda: not is_alive(lines(pids)[0]), "end of the server")


def test_a_server_that_ignores_sigterm_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When its grace is over."""
    monkeypatch.setattr(supervisor, "KILL_S", 0.2)
    pids = tmp_path / "pids"

    def ignore() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        serve(pids)

    with running(tmp_path / "restarts", ignore) as process:
        wait_for(lambda: lines(pids), "server")
        process.terminate()
        process.join(LIMIT_S)
        assert 0 == process.exitcode
    assert not is_alive(lines(pids)[0])


def test_the_sooner_a_server_dies_the_longer_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to a limit, and not at all when it has run for long."""
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    server = Server("server", lambda: None)
    waits = []
    for _ in range(8):
        server.mark_exited()
        waits.append(server.backoff_s)
    assert [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0] == waits
    assert not server.is_due
    now = 5.0
    assert server.is_due
    now = 11.0
    server.mark_exited()
    assert 0.0 == server.backoff_s
