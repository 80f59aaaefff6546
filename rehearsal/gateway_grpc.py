"""The gRPC service of the stand-in executor: seldon.protos.Seldon, or that of V2.

Follows executor/api/grpc of Seldon Core 1.19: code and details of a node pass unchanged, its
metadata does not. Messages pass as bytes; only what leads them through the graph is read.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import grpc
from seldon_core.proto.prediction_pb2 import Feedback, SeldonMessage, SeldonModelMetadataRequest

from rehearsal import go
from rehearsal.gateway_metrics import ExecutorMetrics
from rehearsal.graph import (
    ALL_CHILDREN,
    GraphError,
    Node,
    PanicError,
    Predictor,
    Traversal,
    choice_in,
    reachable,
)

PUID = "seldon-puid"
SIZES = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]

_SELDON = ("/seldon.protos.Seldon", ("Predict", "SendFeedback", "ModelMetadata"))
_V2 = (
    "/inference.GRPCInferenceService",
    ("ModelInfer", "ModelReady", "ModelMetadata", "ServerLive", "ServerReady", "ServerMetadata"),
)
_PATHS = {"predict": "Model/Predict", "feedback": "Model/SendFeedback"}
_OWN_METADATA = ("user-agent", "content-type", "te")


class NodeError(Exception):
    """The end of a call to a node: its code and details."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code, self.details = code, details


class GrpcService(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # its stubs alone are generic
    """The service, and a refusal of all others; the arguments are those of `RestApi`, and `panic`
    ends the executor."""

    def __init__(
        self,
        predictor: Predictor,
        draw: Callable[[], float],
        metrics: ExecutorMetrics,
        panic: Callable[[], None],
    ) -> None:
        self._predictor, self._draw, self._metrics, self._panic = predictor, draw, metrics, panic
        self._channels: dict[str, grpc.Channel] = {}
        self._lock = threading.Lock()
        self._service, methods = _V2 if predictor.v2 else _SELDON
        self._handlers = {
            f"{self._service}/{name}": grpc.unary_unary_rpc_method_handler(self._handler(name))
            for name in methods
        }

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler of a method."""
        if details.method in self._handlers:
            return self._handlers[details.method]
        service, _, method = details.method[1:].rpartition("/")
        text = f"unknown service {service}"
        if service == self._service[1:]:
            text = f"unknown method {method} for service {service}"
        return grpc.unary_unary_rpc_method_handler(
            lambda _, context: context.abort(grpc.StatusCode.UNIMPLEMENTED, text)
        )

    def close(self) -> None:
        """Close the connections to the nodes."""
        for channel in self._channels.values():
            channel.close()

    def channel(self, node: Node) -> grpc.Channel:
        """The connection to a node."""
        target = f"{node.host}:{node.grpc_port}"
        with self._lock:
            if target not in self._channels:
                self._channels[target] = grpc.insecure_channel(target, options=SIZES)
            return self._channels[target]

    def _handler(self, name: str) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        service = f"{self._service}/{name}"

        def run(message: bytes, context: grpc.ServicerContext) -> bytes:
            start, metadata = time.monotonic(), _forwarded(context)
            if name in ("Predict", "SendFeedback"):
                context.send_initial_metadata(((PUID, metadata[PUID]),))
            try:
                nodes = GrpcNodes(self, self._metrics, metadata, self._predictor.v2)
                answer = self._answer(name, nodes, message)
            except GraphError as error:
                self._metrics.observe("Unknown", "unary", service, start)
                context.abort(grpc.StatusCode.UNKNOWN, str(error))
            except NodeError as error:
                self._metrics.observe(code_name(error.code), "unary", service, start)
                context.abort(error.code, error.details)
            except PanicError:
                self._panic()
                context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
            self._metrics.observe("OK", "unary", service, start)
            return answer

        return run

    def _answer(self, name: str, nodes: GrpcNodes, message: bytes) -> bytes:
        traversal = Traversal(self._predictor, nodes, self._draw)
        if name in ("Predict", "ModelInfer"):
            return traversal.predict(message)
        if name == "SendFeedback":
            answer = traversal.feedback(message)
            return b"" if answer is message else answer
        if name in ("ModelMetadata", "ModelReady"):  # each names the model in its field 1
            node = self._predictor.find(SeldonModelMetadataRequest.FromString(message).name)
            seldon, v2 = "/seldon.protos.Model/Metadata", f"{self._service}/{name}"
            return nodes.request(node, v2 if self._predictor.v2 else seldon, message)
        raise PanicError(f"{name} is not implemented")


class GrpcNodes:
    """Calls of one request to nodes; see `rehearsal.graph.Calls`."""

    def __init__(
        self, service: GrpcService, metrics: ExecutorMetrics, metadata: Mapping[str, str], v2: bool
    ) -> None:
        self._service, self._metrics, self._metadata, self._v2 = service, metrics, metadata, v2

    def call(self, node: Node, method: str, message: bytes) -> bytes:
        path = f"{_V2[0]}/ModelInfer" if self._v2 else f"/seldon.protos.{_PATHS[method]}"
        return self.request(node, path, message)

    def route(self, node: Node, message: bytes) -> int:
        """The choice; a router that fails ends the executor."""
        try:
            answer = self.request(node, "/seldon.protos.Router/Route", message)
        except NodeError as error:
            raise PanicError(error.details) from None
        return choice_in(SeldonMessage.FromString(answer))

    def feedback_route(self, node: Node, message: bytes) -> int:
        routing = Feedback.FromString(message).response.meta.routing
        return int(routing.get(node.name, ALL_CHILDREN))

    def with_routing(self, message: bytes, routing: Mapping[str, int]) -> bytes:
        """The message with it; one without a `meta` ends the executor. V2 has no place for it."""
        if self._v2:
            return message
        answer = SeldonMessage.FromString(message)
        if not answer.HasField("meta"):
            raise PanicError("the answer has no meta")
        answer.meta.routing.clear()
        answer.meta.routing.update(routing)
        return bytes(answer.SerializeToString())

    def request(self, node: Node, path: str, message: bytes) -> bytes:
        """The answer of a node.

        Raises:
            NodeError: the call failed.
        """
        start = time.monotonic()
        call = self._service.channel(reachable(node)).unary_unary(path, bytes, bytes)
        try:
            answer: bytes = call(message, metadata=tuple(self._metadata.items()))
        except grpc.RpcError as error:
            assert isinstance(error, grpc.Call)
            code, details = error.code(), error.details() or ""
            self._metrics.observe(code_name(code), "unary", path, start, node)
            if "onnection refused" in details:
                reason = go.connection_refused(node.host, node.grpc_port)
                details = f'connection error: desc = "transport: Error while dialing: {reason}"'
            raise NodeError(code, details) from None
        self._metrics.observe("OK", "unary", path, start, node)
        return answer


def code_name(code: grpc.StatusCode) -> str:
    """The name of a code as Go writes it: INVALID_ARGUMENT is InvalidArgument."""
    return code.name if code is grpc.StatusCode.OK else code.name.title().replace("_", "")


def _forwarded(context: grpc.ServicerContext) -> dict[str, str]:
    """The caller's metadata for a node, with a puid."""
    metadata = {
        key: str(value)
        for key, value in context.invocation_metadata()
        if key not in _OWN_METADATA and not key.startswith(("grpc-", ":"))
    }
    metadata.setdefault(PUID, str(uuid.uuid4()))
    return metadata
