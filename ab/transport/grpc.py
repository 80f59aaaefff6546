"""gRPC: Seldon's API, and that of the Open Inference Protocol."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf import json_format
from seldon_core.proto import prediction_pb2_grpc
from seldon_core.proto.prediction_pb2 import Feedback, SeldonMessage

from ab import wire_v2
from ab.endpoint import Endpoint
from ab.transport import proto_v2
from ab.transport.reply import Outcome, Reply
from ab.wire import Message, puid_of

_OPTIONS = (("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1))
_NEVER_CONNECTED = ("failed to connect to all addresses", "name resolution failure")
_DETAIL = 200

_REJECTED = (
    "INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED", "UNAUTHENTICATED", "UNIMPLEMENTED",
    "FAILED_PRECONDITION", "OUT_OF_RANGE",
)  # fmt: skip
_OUTCOMES = {
    grpc.StatusCode.DEADLINE_EXCEEDED: Outcome.TIMEOUT,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Outcome.REFUSED,
    grpc.StatusCode.UNAVAILABLE: Outcome.CUT,
    **{grpc.StatusCode[name]: Outcome.REJECTED for name in _REJECTED},
}


class GrpcTransport:
    """Calls over one gRPC channel.

    Args:
        endpoint: where to.
        timeout: seconds to wait for an answer.
    """

    def __init__(self, endpoint: Endpoint, timeout: float) -> None:
        if endpoint.secure:
            credentials = grpc.ssl_channel_credentials()
            self._channel = grpc.secure_channel(endpoint.host, credentials, options=_OPTIONS)
        else:
            self._channel = grpc.insecure_channel(endpoint.host, options=_OPTIONS)
        self._v2 = endpoint.model, endpoint.version
        self._seldon = prediction_pb2_grpc.SeldonStub(self._channel)
        self._infer = self._channel.unary_unary(proto_v2.INFER, bytes, proto_v2.response)
        self._metadata = endpoint.metadata
        self._timeout = timeout

    def predict(self, message: Message) -> Reply:
        """Send a request."""
        model, version = self._v2
        if model is None:
            request = json_format.ParseDict(message, SeldonMessage())
            return self._call(self._seldon.Predict, request, message)
        infer = proto_v2.request(wire_v2.infer_request(message), model, version)
        return self._call(self._infer, infer, message)

    def feedback(self, message: Message) -> Reply:
        """Send feedback."""
        request = json_format.ParseDict(message, Feedback())
        return self._call(self._seldon.SendFeedback, request, message)

    def disconnect(self) -> None:
        """Nothing to do: HTTP/2 numbers its streams, so no answer can reach another call."""

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def _call(self, method: Any, request: Any, message: Message) -> Reply:
        puid = puid_of(message)
        metadata = (*self._metadata, *((("seldon-puid", puid),) if puid else ()))
        try:
            answer, call = method.with_call(request, timeout=self._timeout, metadata=metadata)
        except grpc.RpcError as error:
            return _of_error(error)
        if isinstance(answer, dict):
            headers = dict(call.initial_metadata() or ())
            found = wire_v2.as_seldon(answer, str(headers.get(wire_v2.ROUTE, "")))
        else:
            found = json_format.MessageToDict(answer)
        return Reply(Outcome.ANSWERED, "OK", found)


def _of_error(error: grpc.RpcError) -> Reply:
    assert isinstance(error, grpc.Call)
    code, detail = error.code(), error.details() or ""
    outcome = _OUTCOMES.get(code, Outcome.FAILED)
    if code is grpc.StatusCode.UNAVAILABLE and any(w in detail.lower() for w in _NEVER_CONNECTED):
        outcome = Outcome.UNREACHABLE
    return Reply(outcome, code.name, {}, detail[:_DETAIL])
