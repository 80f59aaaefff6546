"""Starts the servers, restarts a server that dies, and ends them all on SIGTERM."""

from __future__ import annotations

import dataclasses
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess

from roberta_sentiment.container import end_with_parent

logger = logging.getLogger(__name__)

BOOT_FAILED = 3
"""Exit code of a server that can't start (gunicorn's own): a restart would not help."""

GRACE_S = 30.0
"""Seconds that running requests get after SIGTERM; as long as gunicorn gives its workers."""

KILL_S = GRACE_S + 2.0
"""Seconds after SIGTERM when what still runs is killed; gunicorn has killed its workers by then,
which would run on without it."""

_LONGEST_BACKOFF_S = 5.0
_STABLE_S = 10.0
_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}


@dataclasses.dataclass
class Server:
    """One process to keep running.

    Attributes:
        name: for the log; the first word says what it serves.
        target: what it runs.
        process: the running process, None between two tries.
        started: monotonic time of its last start, s.
        backoff_s: seconds to wait before the next start.
        starts: how often it was started.
    """

    name: str
    target: Callable[[], None]
    process: BaseProcess | None = None
    started: float = 0.0
    backoff_s: float = 0.0
    starts: int = 0

    def start(self) -> None:
        """Fork the process; it ends with its parent."""
        context = multiprocessing.get_context("fork")
        self.process = context.Process(target=_child, args=(self.target,), name=self.name)
        self.process.start()
        self.started = time.monotonic()
        self.starts += 1

    def mark_exited(self) -> None:
        """Forget the process that has ended; wait longer the sooner it did."""
        quick = time.monotonic() - self.started < _STABLE_S
        self.backoff_s = min(_LONGEST_BACKOFF_S, max(0.1, self.backoff_s * 2)) if quick else 0.0
        self.process = None

    @property
    def is_first_try(self) -> bool:
        """Whether it has never run for long."""
        return self.starts == 1 and time.monotonic() - self.started < _STABLE_S

    @property
    def is_due(self) -> bool:
        """Whether it should be started now."""
        return self.process is None and time.monotonic() >= self.started + self.backoff_s


class Supervisor:
    """Parent of all server processes.

    Args:
        servers: what to run.
        on_restart: called with a server and its exit code before the server is restarted.
    """

    def __init__(
        self,
        servers: list[Server],
        on_restart: Callable[[Server, int], None] = lambda server, code: None,
    ) -> None:
        self._servers = servers
        self._on_restart = on_restart

    def run(self) -> int:
        """Run until SIGTERM or SIGINT, or until a server can't start.

        Returns:
            Exit code of the service: 0 after a signal.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            return self._watch()
        finally:
            self._stop()

    def _watch(self) -> int:
        while True:
            for server in self._servers:
                if server.is_due:
                    server.start()
            caught = signal.sigtimedwait(_SIGNALS, self._poll_timeout())
            if caught is not None and caught.si_signo in (signal.SIGTERM, signal.SIGINT):
                logger.info("stopping on %s", signal.Signals(caught.si_signo).name)
                return 0
            for server in self._servers:
                code = None if server.process is None else server.process.exitcode
                if code is None:
                    continue
                if code == BOOT_FAILED or (code > 0 and server.is_first_try):
                    logger.critical("%s can't start (code %s)", server.name, code)
                    return code
                logger.error("%s ended with code %s, restarting it", server.name, code)
                self._on_restart(server, code)
                server.mark_exited()

    def _poll_timeout(self) -> float:
        """Seconds until something is due, at most one."""
        now = time.monotonic()
        waits = [s.started + s.backoff_s - now for s in self._servers if s.process is None]
        return max(0.0, min([1.0, *waits]))

    def _stop(self) -> None:
        """End every server, by force when its grace is over."""
        running = [s.process for s in self._servers if s.process is not None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + KILL_S
        for process in running:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.exitcode is None:
                logger.error("%s did not stop in %.0f s, killing it", process.name, KILL_S)
                process.kill()
                process.join()


def _child(target: Callable[[], None]) -> None:
    """What runs in a forked server process.

    A Ctrl-C reaches the supervisor alone, which ends the servers cleanly.
    """
    os.setpgid(0, 0)
    end_with_parent()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    target()
