"""Every call of the gRPC service: a caller's error is never INTERNAL or UNKNOWN."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("mlserver", reason="make test-oip runs these in an environment with MLServer")

import grpc
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub

from roberta_sentiment.errors import LONGEST_SENTENCE
from tests.oip_node.server import Server

SERVICE = "/inference.GRPCInferenceService/"
OTHER_SERVICE = "/inference.model_repository.ModelRepositoryService/"
NO_PROTOBUF = b"\xff"


def request(text: bytes = b"good", name: str = "sentiment", **more: Any) -> pb.ModelInferRequest:
    tensor = {
        "name": "x",
        "datatype": "BYTES",
        "shape": [1],
        "contents": {"bytes_contents": [text]},
    }
    return pb.ModelInferRequest(model_name=name, inputs=[tensor], **more)


GOOD, BAD, OTHER = request(), request(b" "), request(name="other")
IN_RAW = pb.ModelInferRequest(
    model_name="sentiment",
    inputs=[{"name": "x", "datatype": "BYTES", "shape": [1]}],
    raw_input_contents=[b"\x03\0\0\0bad"],
)
EMPTY = pb.ModelInferRequest()


@pytest.fixture(scope="module")
def channel(oip: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{oip.grpc}") as opened:
        yield opened


def stream(channel: grpc.Channel, messages: Iterator[bytes]) -> Any:
    """Answers, or an error in their place."""
    call = channel.stream_stream(
        f"{SERVICE}ModelStreamInfer", None, pb.ModelInferResponse.FromString
    )
    return call(messages, timeout=20)


def serialised(*messages: Any) -> Iterator[bytes]:
    return (m if isinstance(m, bytes) else m.SerializeToString() for m in messages)


CALLS: dict[str, tuple[str, Any, str]] = {
    "metadata of another": ("ModelMetadata", pb.ModelMetadataRequest(name="other"), "NOT_FOUND"),
    "metadata of another version": (
        "ModelMetadata", pb.ModelMetadataRequest(name="sentiment", version="9"), "NOT_FOUND",
    ),
    "metadata of none": ("ModelMetadata", b"", "NOT_FOUND"),
    "metadata of a long name": (
        "ModelMetadata", pb.ModelMetadataRequest(name="x" * 9999), "NOT_FOUND",
    ),
    "another version": ("ModelInfer", request(model_version="9"), "NOT_FOUND"),
    "another model": ("ModelInfer", OTHER, "NOT_FOUND"),
    "no model": ("ModelInfer", EMPTY, "NOT_FOUND"),
    "load": ("RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name="other"), "NOT_FOUND"),
    "load none": ("RepositoryModelLoad", b"", "NOT_FOUND"),
    "unload": (
        "RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name="other"), "NOT_FOUND",
    ),
    "unload none": ("RepositoryModelUnload", b"", "NOT_FOUND"),
    "no such call": ("ModelTrain", b"", "UNIMPLEMENTED"),
    **{
        f"{name} of no protobuf": (name, NO_PROTOBUF, "INVALID_ARGUMENT")
        for name in (
            *("ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata"),
            *("ModelInfer", "RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload"),
        )
    },
    **{
        f"the older {name} of no protobuf": (OTHER_SERVICE + name, NO_PROTOBUF, "INVALID_ARGUMENT")
        for name in ("RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload")
    },
}  # fmt: skip


@pytest.mark.parametrize(("name", "message", "code"), CALLS.values(), ids=CALLS)
def test_errors_of_callers(channel: grpc.Channel, name: str, message: Any, code: str) -> None:
    """The code says whose fault it is, in one short sentence."""
    path = name if name.startswith("/") else SERVICE + name
    with pytest.raises(grpc.RpcError) as error:
        channel.unary_unary(path, None, None)(next(serialised(message)), timeout=20)
    assert code == error.value.code().name
    assert 10 < len(str(error.value.details())) <= LONGEST_SENTENCE


@pytest.mark.parametrize(
    ("messages", "codes"),
    [
        ((), []),
        ((GOOD, GOOD), ["OK", "OK"]),
        ((EMPTY,), ["NOT_FOUND"]),
        ((BAD,), ["INVALID_ARGUMENT"]),
        ((NO_PROTOBUF,), ["INVALID_ARGUMENT"]),
        ((GOOD, NO_PROTOBUF), ["OK", "INVALID_ARGUMENT"]),
        ((GOOD, BAD, GOOD), ["OK", "INVALID_ARGUMENT"]),
        ((GOOD, OTHER), ["OK", "NOT_FOUND"]),
        ((OTHER, GOOD), ["NOT_FOUND"]),
        ((request(model_version="9"),), ["NOT_FOUND"]),
    ],
    ids=lambda value: str(len(value)) if isinstance(value, tuple) else ", ".join(value) or "empty",
)
def test_streams(channel: grpc.Channel, messages: tuple[Any, ...], codes: list[str]) -> None:
    """Each message is answered until one is wrong, which ends the stream; none is no error."""
    found = []
    try:
        for _ in stream(channel, serialised(*messages)):
            found.append("OK")
    except grpc.RpcError as error:
        found.append(error.code().name)
    assert codes == found


def test_messages_of_a_stream_are_requests_of_their_own(channel: grpc.Channel) -> None:
    """Each keeps its id and its form of contents, where MLServer takes the first one's."""
    first, second = stream(channel, serialised(request(id="a"), IN_RAW))
    assert ("a", "") == (first.id, second.id)
    assert [b"positive"] == list(first.outputs[1].contents.bytes_contents)
    assert b"\x08\0\0\0negative" == second.raw_output_contents[1]


@pytest.mark.parametrize("answers", [0, 1])
def test_a_stream_that_is_cancelled(oip: Server, channel: grpc.Channel, answers: int) -> None:
    """The server goes on, with no trace in its log."""
    over = threading.Event()

    def messages() -> Iterator[bytes]:
        yield from serialised(*[GOOD] * answers)
        over.wait(20)

    call = stream(channel, messages())
    for _ in range(answers):
        next(call)
    call.cancel()
    over.set()
    with pytest.raises(grpc.RpcError) as error:
        next(call)
    assert "CANCELLED" == error.value.code().name
    assert GRPCInferenceServiceStub(channel).ModelInfer(GOOD, timeout=20).outputs
    assert "Traceback" not in oip.log()


def test_the_repository(channel: grpc.Channel) -> None:
    """A model is listed, leaves, and comes back."""
    stub = GRPCInferenceServiceStub(channel)
    (model,) = stub.RepositoryIndex(pb.RepositoryIndexRequest()).models
    assert ("sentiment", "READY") == (model.name, model.state)
    stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="sentiment"), timeout=60)
    assert not stub.ModelReady(pb.ModelReadyRequest(name="sentiment")).ready
    with pytest.raises(grpc.RpcError, match="not found"):
        stub.ModelInfer(GOOD, timeout=20)
    for _ in range(2):  # the second one replaces the first
        stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="sentiment"), timeout=60)
        assert stub.ModelInfer(GOOD, timeout=20).outputs
