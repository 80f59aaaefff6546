"""Servers as processes of this machine: for the rehearsal, the benchmarks and the tests."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import requests

from scripts.serve import OIP_MODEL, OIP_PORTS, ROOT, image_environment, microservice

START_LIMIT_S = 90.0
STOP_LIMIT_S = 40.0
OIP_COMMAND = ROOT / ".venv-oip" / "bin" / "mlserver"


class ServerError(Exception):
    """A server did not do what was waited for; the message ends with its log."""


class LocalServer:
    """A server in a process group of its own.

    Args:
        command: what to run.
        environment: all of its variables.
        health: URL that answers 200 when it is ready.
        folder: where it runs; by default the folder of its PYTHONPATH.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        health: str,
        folder: str | Path | None = None,
    ) -> None:
        self.environment = dict(environment)
        self._folder = folder or self.environment.get("PYTHONPATH", ROOT)
        self._command, self._health = command, health
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed with the server
        self.started_at: float
        self.process: subprocess.Popen[bytes]

    def launch(self) -> Self:
        """Start the process and do not wait for it."""
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(
            self._command,
            cwd=self._folder,
            env=self.environment,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return self

    def start(self) -> Self:
        """Start the process and wait until it is ready.

        Raises:
            ServerError: it ended, or is not ready in time.
        """
        self.launch()
        self.wait_until_ready()
        return self

    def wait_until_ready(self, limit_s: float = START_LIMIT_S) -> float:
        """Wait until it is ready; seconds since its start.

        Raises:
            ServerError: it ended, or is not ready in time.
        """
        self.wait_for(lambda: self.health() == 200, "readiness", limit_s)
        return time.monotonic() - self.started_at

    def wait_for(
        self, condition: Callable[[], object], what: str, limit_s: float = START_LIMIT_S
    ) -> None:
        """Wait until a condition holds.

        Raises:
            ServerError: the process has ended, or the condition does not hold in time.
        """
        deadline = time.monotonic() + limit_s
        while not condition():
            if self.process.poll() is not None:
                raise ServerError(f"ended before {what}:\n{self.log()}")
            if time.monotonic() > deadline:
                raise ServerError(f"no {what} in {limit_s:g} s:\n{self.log()}")
            time.sleep(0.02)

    def health(self) -> int:
        """HTTP status of the health check, 0 if nothing answers."""
        try:
            return requests.get(self._health, timeout=5).status_code
        except requests.RequestException:
            return 0

    def log(self) -> str:
        """Everything it has printed."""
        self._log.seek(0)
        return self._log.read().decode("utf-8", "replace")

    def processes(self) -> list[int]:
        """Pids of all living processes of the server, of whatever parent."""
        pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        return [pid for pid in pids if _session_of(pid) == self.process.pid]

    def stop(self, limit_s: float = STOP_LIMIT_S) -> int:
        """SIGTERM; return the exit code.

        Raises:
            ServerError: it still runs after that time.
        """
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise ServerError(f"still runs {limit_s:g} s after SIGTERM:\n{self.log()}") from None

    def __enter__(self) -> Self:
        return self if hasattr(self, "process") else self.launch()

    def __exit__(self, *error: object) -> None:
        """End it with all that it has started.

        Raises:
            ServerError: it had to be killed.
        """
        try:
            if self.process.poll() is None:
                self.stop()
        finally:
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait()
            self._log.close()


class Microservice(LocalServer):
    """A class under Seldon's wrapper, started as its image starts it, on free ports.

    Args:
        image: variables of the image, MODEL_NAME among them.
        environment: variables beside those.
        python: of the environment that holds the wrapper.

    Attributes:
        http, grpc, metrics: ports.
    """

    def __init__(
        self,
        image: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        python: str | Path = sys.executable,
    ) -> None:
        self.http, self.grpc, self.metrics = free_ports(3)
        variables = {
            **os.environ,
            **(image_environment() if image is None else image),
            "HOME": tempfile.gettempdir(),
            "PYTHONPATH": str(ROOT),
            "PREDICTIVE_UNIT_HTTP_SERVICE_PORT": str(self.http),
            "PREDICTIVE_UNIT_GRPC_SERVICE_PORT": str(self.grpc),
            "PREDICTIVE_UNIT_METRICS_SERVICE_PORT": str(self.metrics),
            **(environment or {}),
        }
        super().__init__(microservice(variables, python), variables, self.url("/health/status"))

    def url(self, path: str = "") -> str:
        """REST address of a path."""
        return f"http://127.0.0.1:{self.http}{path}"

    def scrape(self) -> str:
        """The metrics page."""
        path = self.environment.get("PREDICTIVE_UNIT_METRICS_ENDPOINT", "/metrics")
        return requests.get(f"http://127.0.0.1:{self.metrics}{path}", timeout=10).text


class InferenceServer(LocalServer):
    """MLServer with this project's runtime, as `make serve-oip` starts it, on free ports.

    Args:
        environment: variables beside those of the image.
        command: MLServer's.

    Attributes:
        http, grpc, metrics: ports.
    """

    def __init__(self, environment: Mapping[str, str], command: Path = OIP_COMMAND) -> None:
        self.http, self.grpc, self.metrics = free_ports(3)
        variables = {
            **os.environ,
            **image_environment(),
            **environment,
            "PYTHONPATH": str(ROOT),
            **dict(zip(OIP_PORTS, map(str, (self.http, self.grpc, self.metrics)), strict=True)),
        }
        ready = f"http://127.0.0.1:{self.http}/v2/models/sentiment/ready"
        super().__init__([str(command), "start", OIP_MODEL], variables, ready, ROOT)

    def scrape(self) -> str:
        """The metrics page."""
        path = self.environment.get("MLSERVER_METRICS_ENDPOINT", "/metrics")
        return requests.get(f"http://127.0.0.1:{self.metrics}{path}", timeout=10).text


def free_ports(n: int) -> list[int]:
    """Ports that are free at the moment."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def _session_of(pid: int) -> int | None:
    """Session of a living process, None for one that is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    state, _, _, session = fields.rpartition(")")[2].split()[:4]
    return None if state in "ZX" else int(session)
