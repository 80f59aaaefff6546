"""The gRPC service of the stand-in executor: the service seldon.protos.Seldon.

Follows executor/api/grpc/seldon of Seldon Core 1.19: code and details of a node pass unchanged, its
metadata does not.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import grpc
from google.protobuf import empty_pb2
from google.protobuf.message import Message
from seldon_core.proto import prediction_pb2

from ab.rehearsal import go
from ab.rehearsal.gateway_metrics import ExecutorMetrics
from ab.rehearsal.graph import (
    ALL_CHILDREN,
    GraphError,
    Node,
    PanicError,
    Predictor,
    Traversal,
    choice_in,
)

PUID = "seldon-puid"
SIZES = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]

_SERVICE = "/seldon.protos.Seldon"
_OWN_METADATA = ("user-agent", "content-type", "te")


class NodeError(Exception):
    """The end of a call to a node: its code and details."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code, self.details = code, details


class GrpcService(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # its stubs alone are generic
    """The service, and a refusal of all others.

    Args:
        predictor: to serve.
        draw: a number from 0 to below 1, for RANDOM_ABTEST.
        metrics: of the executor.
        panic: ends the executor.
    """

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
        self._handlers = {
            f"{_SERVICE}/{name}": self._handler(name, handle, request, with_puid=with_puid)
            for name, handle, request, with_puid in (
                ("Predict", self._predict, prediction_pb2.SeldonMessage, True),
                ("SendFeedback", self._feedback, prediction_pb2.Feedback, True),
                ("ModelMetadata", self._metadata, prediction_pb2.SeldonModelMetadataRequest, False),
                ("GraphMetadata", self._graph_metadata, empty_pb2.Empty, False),
            )
        }

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler of a method."""
        if details.method in self._handlers:
            return self._handlers[details.method]
        service, _, method = details.method[1:].rpartition("/")
        text = f"unknown service {service}"
        if service == _SERVICE[1:]:
            text = f"unknown method {method} for service {service}"
        return grpc.unary_unary_rpc_method_handler(
            lambda _, context: context.abort(grpc.StatusCode.UNIMPLEMENTED, text)
        )

    def close(self) -> None:
        """Close the connections to the nodes."""
        for channel in self._channels.values():
            channel.close()

    def _handler(
        self, name: str, handle: Callable[[GrpcNodes, Any], Any], request: Any, *, with_puid: bool
    ) -> grpc.RpcMethodHandler[Any, Any]:
        service = f"{_SERVICE}/{name}"

        def run(message: Any, context: grpc.ServicerContext) -> Any:
            start, metadata = time.monotonic(), _forwarded(context)
            if with_puid:
                context.send_initial_metadata(((PUID, metadata[PUID]),))
            try:
                answer = handle(GrpcNodes(self, metadata), message)
            except GraphError as error:
                self._metrics.served("Unknown", "unary", service, start)
                context.abort(grpc.StatusCode.UNKNOWN, str(error))
            except NodeError as error:
                self._metrics.served(code_name(error.code), "unary", service, start)
                context.abort(error.code, error.details)
            except PanicError:
                self._panic()
                context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
            self._metrics.served("OK", "unary", service, start)
            return answer

        return grpc.unary_unary_rpc_method_handler(
            run, request.FromString, lambda message: message.SerializeToString()
        )

    def _predict(self, nodes: GrpcNodes, request: Any) -> Any:
        return Traversal(self._predictor, nodes, self._draw).predict(request)

    def _feedback(self, nodes: GrpcNodes, request: Any) -> Any:
        answer = Traversal(self._predictor, nodes, self._draw).feedback(request)
        is_message = isinstance(answer, prediction_pb2.SeldonMessage)
        return answer if is_message else prediction_pb2.SeldonMessage()

    def _metadata(self, nodes: GrpcNodes, request: Any) -> Any:
        return nodes.metadata(self._predictor.find(request.name))

    def _graph_metadata(self, nodes: GrpcNodes, request: Any) -> Any:
        models = {node.name: nodes.metadata(node) for node in self._predictor.graph.walk()}
        edge = models[self._predictor.edge.name]
        return prediction_pb2.SeldonGraphMetadata(
            name=self._predictor.name, models=models, inputs=edge.inputs, outputs=edge.outputs
        )

    def call_node(
        self, node: Node, method: str, request: Message, answer: Any, metadata: Mapping[str, str]
    ) -> Any:
        """Call a method of a node.

        Raises:
            NodeError: it failed.
        """
        if not node.host:
            raise PanicError(f"{node.name} has no endpoint")
        start, path = time.monotonic(), f"/seldon.protos.{method}"
        call = self._channel(node).unary_unary(
            path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        try:
            found = call(request, metadata=tuple(metadata.items()))
        except grpc.RpcError as error:
            assert isinstance(error, grpc.Call)
            code, details = error.code(), error.details() or ""
            self._metrics.called(code_name(code), "unary", path, node, start)
            raise NodeError(code, _details(details, node)) from None
        self._metrics.called("OK", "unary", path, node, start)
        return found

    def _channel(self, node: Node) -> grpc.Channel:
        target = f"{node.host}:{node.grpc_port}"
        with self._lock:
            if target not in self._channels:
                self._channels[target] = grpc.insecure_channel(target, options=SIZES)
            return self._channels[target]


class GrpcNodes:
    """Calls of one request to nodes; see `ab.rehearsal.graph.NodeClient`."""

    def __init__(self, service: GrpcService, metadata: Mapping[str, str]) -> None:
        self._service, self._metadata = service, metadata

    def predict(self, node: Node, message: Any) -> Any:
        return self._call(node, "Model/Predict", message, prediction_pb2.SeldonMessage)

    def send_feedback(self, node: Node, message: Any) -> Any:
        return self._call(node, "Model/SendFeedback", message, prediction_pb2.SeldonMessage)

    def route(self, node: Node, message: Any) -> int:
        """The choice; a router that fails ends the executor."""
        try:
            answer = self._call(node, "Router/Route", message, prediction_pb2.SeldonMessage)
        except NodeError as error:
            raise PanicError(error.details) from None
        return choice_in(answer)

    def feedback_route(self, node: Node, message: Any) -> int:
        return int(message.response.meta.routing.get(node.name, ALL_CHILDREN))

    def with_routing(self, message: Any, routing: Mapping[str, int]) -> Any:
        """The message with it; one without a `meta` ends the executor."""
        if not message.HasField("meta"):
            raise PanicError("the answer has no meta")
        message.meta.routing.clear()
        message.meta.routing.update(routing)
        return message

    def metadata(self, node: Node) -> Any:
        """Metadata of one node."""
        request = prediction_pb2.SeldonModelMetadataRequest(name=node.name)
        return self._call(node, "Model/Metadata", request, prediction_pb2.SeldonModelMetadata)

    def _call(self, node: Node, method: str, message: Message, answer: Any) -> Any:
        return self._service.call_node(node, method, message, answer, self._metadata)


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


def _details(details: str, node: Node) -> str:
    if "onnection refused" not in details:
        return details
    reason = go.connection_refused(node.host, node.grpc_port)
    return f'connection error: desc = "transport: Error while dialing: {reason}"'
