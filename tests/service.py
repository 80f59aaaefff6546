"""The real microservice as a process on free ports, and how to talk to it."""

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

import grpc
import requests
from seldon_core.proto import prediction_pb2, prediction_pb2_grpc

from scripts.serve import image_environment
from tests import ROOT
from tests.rehearsal import kubelet

COMMAND = Path(sys.executable).with_name("seldon-core-microservice")
START_LIMIT_S = 60


class Service:
    """A microservice process, in the environment that the kubelet makes of deployment.yaml.

    Args:
        interface: class to serve, as in MODEL_NAME.
        environment: variables beside those of the image.
    """

    def __init__(self, interface: str = "Model", **environment: str) -> None:
        self.http, self.grpc, self.metrics = free_ports(3)
        self._interface = interface
        self._environment = {
            **os.environ,
            **kubelet.recorded()["kubernetes"],
            **kubelet.recorded()["deployment.yaml"],
            **image_environment(),
            "HOME": tempfile.gettempdir(),
            "PYTHONPATH": str(ROOT),
            "PREDICTIVE_UNIT_HTTP_SERVICE_PORT": str(self.http),
            "PREDICTIVE_UNIT_GRPC_SERVICE_PORT": str(self.grpc),
            "PREDICTIVE_UNIT_METRICS_SERVICE_PORT": str(self.metrics),
            **environment,
        }
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed with the service
        self.process: subprocess.Popen[bytes]

    def launch(self) -> Self:
        """Start the process and do not wait for it."""
        self.process = subprocess.Popen(
            [str(COMMAND), self._interface, "--service-type", "MODEL"],
            cwd=ROOT,
            env=self._environment,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return self

    def start(self) -> Self:
        """Start the process and wait until it is ready."""
        self.launch()
        self.wait_for(lambda: self.health() == 200, "readiness")
        return self

    def wait_for(self, condition: Any, what: str, limit_s: float = START_LIMIT_S) -> None:
        """Wait until a condition holds; fail with the log if it does not, or the process ends."""
        deadline = time.monotonic() + limit_s
        while not condition():
            assert self.process.poll() is None, f"ended before {what}:\n{self.log()}"
            assert time.monotonic() < deadline, f"no {what} in {limit_s} s:\n{self.log()}"
            time.sleep(0.02)

    def health(self) -> int:
        """HTTP status of /health/status, 0 if nothing answers."""
        try:
            return requests.get(self.url("/health/status"), timeout=5).status_code
        except requests.RequestException:
            return 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.http}{path}"

    def post(self, body: Any, path: str = "/api/v1.0/predictions") -> requests.Response:
        """POST a JSON body."""
        headers = {"Content-Type": "application/json"}
        return requests.post(self.url(path), data=json.dumps(body), headers=headers, timeout=60)

    def post_status(self, body: Any) -> int:
        """HTTP status of a POST, 0 if nothing answers."""
        try:
            return self.post(body).status_code
        except requests.RequestException:
            return 0

    def stub(self) -> prediction_pb2_grpc.SeldonStub:
        """A gRPC client; messages of any size may pass."""
        channel = grpc.insecure_channel(
            f"127.0.0.1:{self.grpc}", options=[("grpc.max_send_message_length", -1)]
        )
        return prediction_pb2_grpc.SeldonStub(channel)

    def predict(self, message: prediction_pb2.SeldonMessage) -> prediction_pb2.SeldonMessage:
        """Predict over gRPC."""
        return self.stub().Predict(message, timeout=60)

    def scrape(self) -> str:
        """The metrics page."""
        path = self._environment.get("PREDICTIVE_UNIT_METRICS_ENDPOINT", "/metrics")
        return requests.get(f"http://127.0.0.1:{self.metrics}{path}", timeout=10).text

    def counter(self, name: str, **labels: str) -> float:
        """Sum of a counter over every label that is not given."""
        from prometheus_client.parser import text_string_to_metric_families

        return sum(
            sample.value
            for family in text_string_to_metric_families(self.scrape())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def log(self) -> str:
        """Everything it has printed."""
        self._log.seek(0)
        return self._log.read().decode("utf-8", "replace")

    def stop(self, limit_s: float = 40) -> int:
        """SIGTERM; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(limit_s)

    def processes(self) -> list[int]:
        """Pids of all living processes of the service, of whatever parent."""
        return [pid for pid in all_pids() if session_of(pid) == self.process.pid]

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
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
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


def all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def session_of(pid: int) -> int | None:
    """Session of a living process, None for one that is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    state, _, _, session = fields.rpartition(")")[2].split()[:4]
    return None if state in "ZX" else int(session)
