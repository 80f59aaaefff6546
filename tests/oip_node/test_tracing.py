"""Traces by MLServer's setting, received by a stand-in for an OpenTelemetry collector."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

pytest.importorskip("mlserver", reason="make test-oip runs these in an environment with MLServer")

import grpc
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as otlp_grpc

from tests.oip_node.server import GOOD, Server
from tests.oip_node.test_lifecycle import MESSAGE, repository, set_up


class Collector(otlp_grpc.TraceServiceServicer):  # type: ignore[misc]  # upstream is untyped
    """Keeps the names of the spans that it is sent."""

    def __init__(self) -> None:
        self.spans: set[str] = set()

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Take spans."""
        scopes = [scope for each in request.resource_spans for scope in each.scope_spans]
        self.spans |= {span.name for scope in scopes for span in scope.spans}
        return otlp.ExportTraceServiceResponse()


@pytest.fixture
def collector() -> Iterator[tuple[Collector, int]]:
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(2))
    otlp_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield collector, port
    server.stop(None)


def test_requests_are_traced(tmp_path: Path, collector: tuple[Collector, int]) -> None:
    """Each request over REST and gRPC is a span; probes are none, and the end loses none."""
    received, port = collector
    folder = repository(tmp_path)
    set_up(folder, tracing_server=f"127.0.0.1:{port}")
    with Server(folder).start() as server:
        assert 200 == server.infer({"inputs": [GOOD]}).status_code
        assert 400 == server.infer({"inputs": []}).status_code
        assert 200 == requests.get(server.url("/v2/health/live"), timeout=10).status_code
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc}") as channel:
            stub = GRPCInferenceServiceStub(channel)
            stub.ModelInfer(MESSAGE, timeout=60)
            assert stub.ServerLive(pb.ServerLiveRequest()).live
        assert 0 == server.stop()
    assert "POST /v2/models/{model_name}/infer" in received.spans
    assert "/inference.GRPCInferenceService/ModelInfer" in received.spans
    assert not {name for name in received.spans if "live" in name.lower()}
