"""Servers under test: ready when they say so, ended with all that they started."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import requests

from lab.benchmarks.machine import ROOT
from tests.service import all_pids, session_of


class ServerError(Exception):
    """A server did not become ready; the message ends with its log."""


class Server:
    """A process group that listens on a port.

    Args:
        command: what to run.
        ready: URL that answers 200 when the server may be asked.
        environment: variables beside those of this process.
        limit_s: how long it may take to start.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        ready: str,
        environment: Mapping[str, str],
        limit_s: float = 180,
    ) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed with the server
        self._ready = ready
        self._limit_s = limit_s
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            command,
            cwd=environment.get("PYTHONPATH", ROOT),
            env={**os.environ, **environment},
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait(self) -> float:
        """Wait until it is ready; seconds since its start.

        Raises:
            ServerError: it ended, or took too long.
        """
        while not self._is_ready():
            ended = self.process.poll() is not None
            if ended or time.perf_counter() - self.started > self._limit_s:
                self._log.seek(0)
                raise ServerError(self._log.read().decode("utf-8", "replace"))
            time.sleep(0.02)
        return time.perf_counter() - self.started

    def _is_ready(self) -> bool:
        try:
            return requests.get(self._ready, timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def pids(self) -> list[int]:
        """All living processes of the group."""
        return [pid for pid in all_pids() if session_of(pid) == self.process.pid]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        self._log.close()


def cpu_seconds(pids: Sequence[int]) -> float:
    """Processor time that the living threads of processes have used so far, user and system."""
    return (
        sum(_thread_ns(task) for pid in pids for task in Path(f"/proc/{pid}/task").glob("*")) / 1e9
    )


def _thread_ns(task: Path) -> int:
    """Nanoseconds that a thread has run; 0 if it has ended."""
    try:
        return int((task / "schedstat").read_text(encoding="ascii").split()[0])
    except OSError:
        return 0


def memory_mb(pid: int) -> dict[str, float]:
    """Resident, proportional, private and peak memory of a process, MB (10^6 bytes)."""
    names = {"Rss": "rss", "Pss": "pss", "Private_Clean": "private", "Private_Dirty": "private"}
    found = dict.fromkeys(("rss", "pss", "private", "private_dirty", "peak"), 0.0)
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]:
        name, _, value = line.partition(":")
        kilobytes = int(value.split()[0])
        if name in names:
            found[names[name]] += kilobytes * 1024 / 1e6
        if name == "Private_Dirty":
            found["private_dirty"] += kilobytes * 1024 / 1e6
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM"):
            found["peak"] = int(line.split()[1]) * 1024 / 1e6
    return {name: round(value, 1) for name, value in found.items()}
