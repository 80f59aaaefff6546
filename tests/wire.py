"""A request in its JSON form as the protobuf message that a gRPC client would send."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format
from seldon_core.proto import prediction_pb2


def to_proto(message: dict[str, Any]) -> prediction_pb2.SeldonMessage:
    """The message as protobuf's own JSON rules read it."""
    return json_format.ParseDict(message, prediction_pb2.SeldonMessage())
