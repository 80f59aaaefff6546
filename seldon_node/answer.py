"""From predictions to a SeldonMessage of the kind that the request had."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format, struct_pb2
from seldon_core.proto import prediction_pb2

from roberta_sentiment.errors import PayloadError, SentimentError
from roberta_sentiment.predictions import Predictions
from seldon_node.payload import Request

Message = dict[str, Any]


def build(request: Request, predictions: Predictions, meta: Message) -> Message:
    """The answer in its JSON form.

    Args:
        request: decides the kind: `ndarray` and `tensor` are answered in kind, strData and binData
            as `tensor`, jsonData as `jsonData`.
        predictions: answers to the request's texts.
        meta: of the answer.

    Returns:
        A SeldonMessage of plain Python values; k columns of scores, as the model's head gives them.
    """
    if request.kind == "jsonData":
        return {"jsonData": {"predictions": _describe(request, predictions)}, "meta": meta}
    rows: list[list[float]] = predictions.probabilities.tolist()
    data: Message = {"names": list(predictions.labels)}
    if request.kind == "ndarray":
        data["ndarray"] = rows
    else:
        data["tensor"] = {
            "shape": [len(rows), len(predictions.labels)],
            "values": [value for row in rows for value in row],
        }
    return {"data": data, "meta": meta}


def build_meta(incoming: object) -> Message:
    """Meta of an answer: the caller's puid, tags and path, with this node in the path.

    Args:
        incoming: `meta` of the request, None if it had none.

    Raises:
        PayloadError: `meta` is not of the form that Seldon gives it.
    """
    incoming = {} if incoming is None else incoming
    if not isinstance(incoming, dict):
        raise PayloadError("meta is not an object")
    given = _mapping(incoming, "tags")
    if not _is_finite(given):
        raise PayloadError("meta.tags holds a number that is not finite")
    meta: Message = {"tags": {**given}}
    path = {**_request_path(), **_mapping(incoming, "requestPath")}
    if path:
        meta["requestPath"] = path
    puid = incoming.get("puid")
    if puid:
        if not isinstance(puid, str):
            raise PayloadError("meta.puid is not a text")
        meta["puid"] = puid
    return meta


def build_error(error: SentimentError) -> Message:
    """The answer to a request that failed; its `code` becomes the HTTP status."""
    return {
        "status": {
            "code": error.http_status,
            "info": error.message,
            "reason": error.reason,
            "status": "FAILURE",
        }
    }


def to_proto(message: Message) -> prediction_pb2.SeldonMessage:
    """The protobuf form of an answer."""
    proto = prediction_pb2.SeldonMessage()
    rest = dict(message)
    if "data" in rest:
        _fill_data(proto.data, rest.pop("data"))
    if "meta" in rest:
        _fill_meta(proto.meta, rest.pop("meta"))
    if rest:
        json_format.ParseDict(rest, proto)
    return proto


# By hand, because every answer has these and json_format takes several times as long.


def _fill_data(proto: prediction_pb2.DefaultData, data: Message) -> None:
    proto.names.extend(data["names"])
    if "tensor" in data:
        proto.tensor.shape.extend(data["tensor"]["shape"])
        proto.tensor.values.extend(data["tensor"]["values"])
    else:
        proto.ndarray.extend(data["ndarray"])


def _fill_meta(proto: prediction_pb2.Meta, meta: Message) -> None:
    proto.SetInParent()
    proto.puid = meta.get("puid", "")
    for name, value in meta.get("tags", {}).items():
        _fill_value(proto.tags[name], value)
    for node, image in meta.get("requestPath", {}).items():
        proto.requestPath[node] = image


def _fill_value(proto: struct_pb2.Value, value: Any) -> None:
    if isinstance(value, bool):
        proto.bool_value = value
    elif isinstance(value, str):
        proto.string_value = value
    elif isinstance(value, list):
        proto.list_value.Clear()  # an empty list is a value too
        proto.list_value.extend(value)
    elif isinstance(value, dict):
        proto.struct_value.Clear()
        proto.struct_value.update(value)
    elif value is None:
        proto.null_value = struct_pb2.NULL_VALUE
    else:
        proto.number_value = value


def _describe(request: Request, predictions: Predictions) -> list[Message]:
    """One object a text: label, score, all scores by label, tokens, truncated.

    `label` is that of the highest score; of a multi-label model `labels` are those from 0.5 on.
    """
    options = request.options
    scores = predictions.logits if options.output == "logits" else predictions.probabilities
    chosen = predictions.chosen
    described = []
    for i, row in enumerate(scores.astype(float).tolist()):
        ranked = sorted(zip(predictions.labels, row, strict=True), key=lambda pair: -pair[1])
        label, score = ranked[0]
        entry: Message = {"label": label}
        if predictions.head.multi_label:
            entry["labels"] = list(chosen[i])
        if options.output != "label":
            entry["score"] = score
            entry["scores"] = dict(ranked[: options.top_k])
        entry["tokens"] = predictions.tokens[i]
        entry["truncated"] = i in predictions.truncated
        described.append(entry)
    return described


def _mapping(incoming: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = incoming.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise PayloadError(f"meta.{name} is not an object")
    return value


def _is_finite(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _request_path() -> dict[str, str]:
    """This node in `meta.requestPath`, as the wrapper writes it: node name to image."""
    node = os.environ.get("PREDICTIVE_UNIT_ID")
    return {node: os.environ.get("PREDICTIVE_UNIT_IMAGE", "")} if node else {}
