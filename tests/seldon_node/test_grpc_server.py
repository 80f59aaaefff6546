"""The gRPC server, with a servicer in place of the wrapper's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from seldon_core.proto import prediction_pb2, prediction_pb2_grpc

from roberta_sentiment.settings import Settings
from seldon_node.grpc_server import Server

PREDICT = "/seldon.protos.Seldon/Predict"
TEXT = prediction_pb2.SeldonMessage(strData="good")


class Servicer:
    """Answers each method of Seldon's services by a function that a test may replace."""

    def __init__(self) -> None:
        self.answer: Any = lambda request, context: request

    def __getattr__(self, name: str) -> Any:
        return lambda request, context: self.answer(request, context)


class Started:
    """A server on a free port and a channel to it."""

    def __init__(self, threads: int = 2, **settings: int) -> None:
        node: Any = SimpleNamespace(
            settings=Settings.read(settings, {}), health_status=lambda: "ready"
        )
        self.servicer = Servicer()
        self._server = Server(node, self.servicer, threads, message_bytes=None)
        port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        self.channel = grpc.insecure_channel(
            f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]
        )
        self.stub = prediction_pb2_grpc.SeldonStub(self.channel)

    def stop(self) -> None:
        self.channel.close()
        assert self._server.stop(None).wait(20)


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Started]:
    started = Started(**getattr(request, "param", {}))
    yield started
    started.stop()


def test_an_answer_comes_back(server: Started) -> None:
    """What the servicer gives for the message that was sent."""
    assert "good" == server.stub.Predict(TEXT, timeout=20).strData


def test_a_servicer_ends_a_call(server: Started) -> None:
    """With its code and its sentence."""
    server.servicer.answer = lambda request, context: context.abort(
        grpc.StatusCode.NOT_FOUND, "no such thing"
    )
    with pytest.raises(grpc.RpcError) as caught:
        server.stub.Predict(TEXT, timeout=20)
    assert grpc.StatusCode.NOT_FOUND == caught.value.code()
    assert "no such thing" == caught.value.details()


@pytest.mark.parametrize("server", [{"arrival_timeout": 1}], indirect=True)
def test_a_call_without_a_message_ends(server: Started, caplog: pytest.LogCaptureFixture) -> None:
    """More of them than there are threads: each ends in time, and others are answered meanwhile."""
    over = threading.Event()

    def nothing() -> Iterator[bytes]:
        over.wait(60)
        yield from ()

    call: Any = server.channel.stream_unary(PREDICT, bytes, bytes)
    silent = [call.future(nothing(), timeout=60) for _ in range(8)]
    assert "good" == server.stub.Predict(TEXT, timeout=20).strData
    ends = {(one.code(), one.details()) for one in silent}
    over.set()
    info = "no message came in 1 s (setting arrival_timeout)"
    assert {(grpc.StatusCode.DEADLINE_EXCEEDED, info)} == ends
    assert [] == caplog.records


def test_a_call_that_ends_without_a_message_is_refused(server: Started) -> None:
    """The client has half-closed the stream: none will come."""
    call: Any = server.channel.stream_unary(PREDICT, bytes, bytes)
    with pytest.raises(grpc.RpcError) as caught:
        call(iter(()), timeout=20)
    assert grpc.StatusCode.INVALID_ARGUMENT == caught.value.code()
    assert "the call has no message" == caught.value.details()


def test_a_servicer_learns_that_its_caller_has_gone(server: Started) -> None:
    """Through the callback that it has added."""
    begun, gone = threading.Event(), threading.Event()

    def wait(request: Any, context: Any) -> Any:
        assert context.add_callback(gone.set)
        begun.set()
        assert gone.wait(20)
        assert not context.is_active()
        return request

    server.servicer.answer = wait
    call = server.stub.Predict.future(TEXT, timeout=20)
    assert begun.wait(20)
    call.cancel()
    assert gone.wait(20)


def test_health_is_that_of_the_node(server: Started) -> None:
    """By gRPC's own protocol; a name that is not served is not found."""
    stub = health_pb2_grpc.HealthStub(server.channel)
    reply = stub.Check(health_pb2.HealthCheckRequest(service="seldon.protos.Seldon"), timeout=20)
    assert health_pb2.HealthCheckResponse.SERVING == reply.status
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="other"), timeout=20)
    assert grpc.StatusCode.NOT_FOUND == caught.value.code()
