"""MLServer with our runtime as a process on free ports, and how to talk to it."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import requests

from scripts.local_service import LocalServer, free_ports
from tests import ROOT
from tests.metrics_page import total
from tests.rehearsal import kubelet

__all__ = ["GOOD", "REPOSITORY", "Server", "free_ports"]

REPOSITORY = ROOT / "oip_node" / "sentiment"
GOOD = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["This film is so good"]}


class Server(LocalServer):
    """`mlserver start` in the environment of a pod: any working directory, many variables.

    Args:
        repository: the directory that it starts.
        command: what starts it; MLServer of this environment by default.
        environment: variables beside those of this process and of the kubelet.
    """

    def __init__(
        self, repository: Path = REPOSITORY, command: Path | None = None, **environment: str
    ) -> None:
        self.http, self.grpc, self.metrics = free_ports(3)
        recorded = kubelet.recorded()
        super().__init__(
            [str(command or Path(sys.executable).with_name("mlserver")), "start", str(repository)],
            {
                **os.environ,
                **recorded["kubernetes"],
                **recorded["deployment.yaml"],
                "PYTHONPATH": str(ROOT),
                "PYTHONUNBUFFERED": "1",
                "MLSERVER_HTTP_PORT": str(self.http),
                "MLSERVER_GRPC_PORT": str(self.grpc),
                "MLSERVER_METRICS_PORT": str(self.metrics),
                **environment,
            },
            self.url("/v2/models/sentiment/ready"),
            folder=tempfile.gettempdir(),
        )

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
        page = requests.get(f"http://127.0.0.1:{self.metrics}/metrics", timeout=10).text
        return total(page, name, **labels)
