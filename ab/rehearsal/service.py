"""One microservice as a process, started as its image starts it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import requests

from ab.errors import EndpointError

ROOT = Path(__file__).resolve().parent.parent.parent
START_LIMIT_S = 90.0
STOP_LIMIT_S = 40.0
_LOG_LINES = 15


def read_environment(path: Path) -> dict[str, str]:
    """The variables of a `.s2i/environment`."""
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


class Microservice:
    """A microservice on free ports of this machine, REST only.

    Args:
        name: of its graph node.
        environment: variables of its image: MODEL_NAME, SERVICE_TYPE and others.
        image: shown in `meta.requestPath`.
        parameters: of its graph node, in the manifest's form.
    """

    def __init__(
        self,
        name: str,
        environment: Mapping[str, str],
        image: str = "",
        parameters: Sequence[Mapping[str, str]] = (),
    ) -> None:
        self.name = name
        self.http, self.metrics = free_ports(2)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed with the service
        variables = {
            **os.environ,
            **environment,
            "HOME": tempfile.gettempdir(),
            "PYTHONPATH": str(ROOT),
            "GRPC_WORKERS": "0",
            "PREDICTIVE_UNIT_ID": name,
            "PREDICTIVE_UNIT_IMAGE": image,
            "PREDICTIVE_UNIT_PARAMETERS": json.dumps(list(parameters)),
            "PREDICTIVE_UNIT_HTTP_SERVICE_PORT": str(self.http),
            "PREDICTIVE_UNIT_METRICS_SERVICE_PORT": str(self.metrics),
        }
        command = str(Path(sys.executable).with_name("seldon-core-microservice"))
        self.process = subprocess.Popen(
            [command, environment["MODEL_NAME"], "--service-type", environment["SERVICE_TYPE"]],
            cwd=ROOT,
            env=variables,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def url(self) -> str:
        """REST address without a path."""
        return f"http://127.0.0.1:{self.http}"

    def wait_until_ready(self) -> None:
        """Return when its model answers.

        Raises:
            EndpointError: it ended, or did not answer in time; with the end of its log.
        """
        deadline = time.monotonic() + START_LIMIT_S
        while not self._is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise EndpointError(f"{self.name} does not start:\n{self._last_lines()}")
            time.sleep(0.05)

    def scrape(self) -> str:
        """Its page of metrics."""
        return requests.get(f"http://127.0.0.1:{self.metrics}/metrics", timeout=10).text

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
            self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._log.close()

    def _is_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/health/status", timeout=5).ok
        except requests.RequestException:
            return False

    def _last_lines(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").splitlines()
        return "\n".join(lines[-_LOG_LINES:])


def free_ports(n: int) -> list[int]:
    """Ports that nobody listens on at the moment."""
    sockets = [socket.socket() for _ in range(n)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [int(s.getsockname()[1]) for s in sockets]
    finally:
        for s in sockets:
            s.close()
