"""The series that Seldon's executor exposes."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Histogram

from rehearsal.graph import Node, Predictor

_SERVER = ("code", "deployment_name", "method", "predictor_name", "predictor_version", "service")
_CLIENT = (*_SERVER, "model_image", "model_name", "model_version")


class ExecutorMetrics:
    """Histograms of the requests that came and of the calls to nodes.

    Attributes:
        registry: holds both.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.registry = CollectorRegistry()
        self._common = (predictor.deployment, predictor.name, "")
        self._server, self._client = (
            Histogram(
                f"seldon_api_executor_{name}_requests_seconds",
                f"A histogram of latencies for {text}",
                labels,
                registry=self.registry,
            )
            for name, text, labels in (
                ("server", "executor server", _SERVER),
                ("client", "client calls from executor", _CLIENT),
            )
        )

    def served(self, code: str, method: str, service: str, start: float) -> None:
        """Count a request.

        Args:
            code: HTTP status, or name of a gRPC code.
            method: of HTTP in small letters, or `unary`.
            service: what was asked for.
            start: monotonic time, s.
        """
        self._observe(self._server, code, method, service, start)

    def called(self, code: str, method: str, service: str, node: Node, start: float) -> None:
        """Count a call to a node that was answered; the arguments are those of `served`."""
        image, _, rest = node.image.partition(":")
        version = "" if ":" in rest else rest
        self._observe(self._client, code, method, service, start, image, node.name, version)

    def _observe(
        self, kind: Histogram, code: str, method: str, service: str, start: float, *node: str
    ) -> None:
        deployment, predictor, version = self._common
        labels = (code, deployment, method, predictor, version, service, *node)
        kind.labels(*labels).observe(time.monotonic() - start)
