"""MLServer with our runtime as a process on free ports, and how to talk to it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

from tests import ROOT

REPOSITORY = ROOT / "oip_node" / "sentiment"
START_LIMIT_S = 120
GOOD = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["This film is so good"]}


class Server:
    """`mlserver start` in the environment of a pod: any working directory, many variables.

    Args:
        repository: the directory that it starts.
        command: what starts it; MLServer of this environment by default.
        environment: variables beside those of this process.
    """

    def __init__(
        self, repository: Path = REPOSITORY, command: Path | None = None, **environment: str
    ) -> None:
        self.http, self.grpc, self.metrics = free_ports(3)
        self._command = [str(command or Path(sys.executable).with_name("mlserver")), "start"]
        self._command.append(str(repository))
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "KUBERNETES_PORT": "tcp://10.96.0.1:443",
            "SENTIMENT_PORT_9000_TCP_ADDR": "10.96.12.7",
            "MLSERVER_HTTP_PORT": str(self.http),
            "MLSERVER_GRPC_PORT": str(self.grpc),
            "MLSERVER_METRICS_PORT": str(self.metrics),
            **environment,
        }
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed with the server
        self.process: subprocess.Popen[bytes]

    def launch(self) -> Self:
        """Start the process and do not wait for it."""
        self.process = subprocess.Popen(
            self._command,
            cwd=tempfile.gettempdir(),
            env=self._environment,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return self

    def start(self) -> Self:
        """Start the process and wait until the model is ready."""
        self.launch()
        self.wait_for(lambda: self.status("/v2/models/sentiment/ready") == 200, "readiness")
        return self

    def wait_for(self, condition: Any, what: str, limit_s: float = START_LIMIT_S) -> None:
        """Wait until a condition holds; fail with the log if it does not, or the process ends."""
        deadline = time.monotonic() + limit_s
        while not condition():
            assert self.process.poll() is None, f"ended before {what}:\n{self.log()}"
            assert time.monotonic() < deadline, f"no {what} in {limit_s} s:\n{self.log()}"
            time.sleep(0.02)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.http}{path}"

    def status(self, path: str) -> int:
        """HTTP status of a GET, 0 if nothing answers."""
        try:
            return requests.get(self.url(path), timeout=5).status_code
        except requests.RequestException:
            return 0

    def infer(self, body: Any, path: str = "/v2/models/sentiment/infer") -> requests.Response:
        """POST a JSON body."""
        headers = {"Content-Type": "application/json"}
        return requests.post(self.url(path), data=json.dumps(body), headers=headers, timeout=120)

    def counter(self, name: str, **labels: str) -> float:
        """Sum of a counter over every label that is not given."""
        from prometheus_client.parser import text_string_to_metric_families

        page = requests.get(f"http://127.0.0.1:{self.metrics}/metrics", timeout=10).text
        return sum(
            sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def log(self) -> str:
        """Everything it has printed."""
        self._log.seek(0)
        return self._log.read().decode("utf-8", "replace")

    def stop(self, limit_s: float = 60) -> int:
        """SIGTERM; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(limit_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.stop()
        self._log.close()


def free_ports(n: int) -> list[int]:
    """Ports that nobody listens on at the moment."""
    sockets = [socket.socket() for _ in range(n)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()
