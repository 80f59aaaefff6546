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

    def observe(
        self, code: str, method: str, service: str, start: float, node: Node | None = None
    ) -> None:
        """Count a request, or a call to a node that was answered.

        Args:
            code: HTTP status, or name of a gRPC code.
            method: of HTTP in small letters, or `unary`.
            service: what was asked for.
            start: monotonic time, s.
            node: that was called.
        """
        deployment, predictor, version = self._common
        labels = (code, deployment, method, predictor, version, service)
        if node is None:
            series = self._server.labels(*labels)
        else:
            image, _, tag = node.image.partition(":")
            series = self._client.labels(*labels, image, node.name, "" if ":" in tag else tag)
        series.observe(time.monotonic() - start)
