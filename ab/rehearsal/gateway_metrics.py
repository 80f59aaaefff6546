"""The series that Seldon's executor exposes."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Histogram

from ab.rehearsal.graph import Node, Predictor

_SERVER = ("code", "deployment_name", "method", "predictor_name", "predictor_version", "service")
_CLIENT = (*_SERVER, "model_image", "model_name", "model_version")


class ExecutorMetrics:
    """Histograms of the requests that came and of the calls to nodes.

    Attributes:
        registry: holds both.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.registry = CollectorRegistry()
        self._common = {
            "deployment_name": predictor.deployment,
            "predictor_name": predictor.name,
            "predictor_version": "",
        }
        self._server = Histogram(
            "seldon_api_executor_server_requests_seconds",
            "A histogram of latencies for executor server",
            _SERVER,
            registry=self.registry,
        )
        self._client = Histogram(
            "seldon_api_executor_client_requests_seconds",
            "A histogram of latencies for client calls from executor",
            _CLIENT,
            registry=self.registry,
        )

    def served(self, code: str, method: str, service: str, start: float) -> None:
        """Count a request.

        Args:
            code: HTTP status, or name of a gRPC code.
            method: of HTTP in small letters, or `unary`.
            service: what was asked for.
            start: monotonic time, s.
        """
        labels = {"code": code, "method": method, "service": service, **self._common}
        self._server.labels(**labels).observe(time.monotonic() - start)

    def called(self, code: str, method: str, service: str, node: Node, start: float) -> None:
        """Count a call to a node that was answered; the arguments are those of `served`."""
        image, _, rest = node.image.partition(":")
        labels = {
            "code": code,
            "method": method,
            "service": service,
            "model_name": node.name,
            "model_image": image,
            "model_version": "" if ":" in rest else rest,
            **self._common,
        }
        self._client.labels(**labels).observe(time.monotonic() - start)
