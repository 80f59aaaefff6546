"""Counts the server processes that ended and were replaced, by the reason of their end."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Any

from roberta_sentiment.container import CGROUP, memory_kills
from roberta_sentiment.serving.metrics import RestartReason, restart_metrics
from seldon_node.recorder import Store


class Restarts:
    """Counts restarts into the store of the service.

    Args:
        store: of the service.
        cgroup: where the cgroup file system is mounted.
    """

    def __init__(self, store: Store, cgroup: Path = CGROUP) -> None:
        self._store = store
        self._cgroup = cgroup
        self._memory_kills = memory_kills(cgroup)

    def count(self, server: str, code: int | None, *, hung: bool = False) -> None:
        """Count one process that ended and is replaced.

        Args:
            server: rest, grpc, metrics or custom.
            code: its exit code, the negative number of the signal that ended it, None if unknown.
            hung: whether it was ended because it did nothing any more.
        """
        reason = "hung" if hung else self._reason(code)
        self._store.update(restart_metrics(server, reason), "")

    def _reason(self, code: int | None) -> RestartReason:
        if code is None:
            return "unknown"
        if code >= 0:
            return "failed" if code else "exited"
        before, self._memory_kills = self._memory_kills, memory_kills(self._cgroup)
        if code == -signal.SIGKILL and self._memory_kills > before:
            return "out_of_memory"
        return "killed"


def record_exits(arbiter: Any) -> None:
    """Keep with each gunicorn worker that has ended how it did, before gunicorn forgets it."""
    for pid, worker in arbiter.WORKERS.items():
        with contextlib.suppress(ChildProcessError):
            worker.end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)


def exit_code(end: os.waitid_result | None) -> int | None:
    """Exit code of a process, or the negative number of the signal that ended it."""
    if end is None:
        return None
    return end.si_status if end.si_code == os.CLD_EXITED else -end.si_status
