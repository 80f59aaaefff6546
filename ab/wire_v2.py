"""The Open Inference Protocol (V2): requests, and answers in the form of Seldon's messages."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ab.wire import Message

ROUTE = "x-seldon-route"
"""Header by which Seldon Core 2 says what answered: `:NAME_VERSION:`."""


def infer_request(message: Message) -> Message:
    """A V2 request with the text of a SeldonMessage; its id is the puid."""
    (text,) = message["data"]["ndarray"]
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}
    return {"id": message["meta"]["puid"], "inputs": [tensor]}


def as_seldon(answer: Mapping[str, Any], route: str = "") -> Message:
    """A V2 answer, or error, as a SeldonMessage.

    V2 does not name the columns of `probabilities`. Where the answer has a `label`, it becomes
    `data.best`, by which `ab.wire.read_answer` finds a wrong order.

    Args:
        answer: in its JSON form.
        route: header `x-seldon-route`.
    """
    served = {
        "served_as": answer.get("model_name"),
        "served_version": answer.get("model_version"),
        ROUTE: route,
    }
    parameters = answer.get("parameters")
    tags = {**(parameters if isinstance(parameters, dict) else {}), **served}
    if isinstance(tags.get("truncated"), str):  # V2 over gRPC has no lists
        with contextlib.suppress(ValueError):
            tags["truncated"] = json.loads(tags["truncated"])
    meta = {"tags": {name: value for name, value in tags.items() if value not in (None, "")}}
    if answer.get("id"):
        meta["puid"] = answer["id"]
    return {"data": _data(answer.get("outputs")), "meta": meta}


def _data(outputs: object) -> Message:
    """Scores and label; those of a transformers pipeline are JSON in a BYTES tensor."""
    if not isinstance(outputs, list) or not all(isinstance(each, dict) for each in outputs):
        return {}
    found = {each.get("name"): each.get("data") for each in outputs}
    if isinstance(scores := found.get("probabilities"), list):
        label = found.get("label")
        best = {"best": label[0]} if isinstance(label, list) and label else {}
        row = scores[0] if len(scores) == 1 and isinstance(scores[0], list) else scores
        return {"ndarray": [row], "best": None, **best}
    texts = [each["data"] for each in outputs if each.get("datatype") == "BYTES"]
    return _of_pipeline(texts[0]) if texts else {}


def _of_pipeline(texts: object) -> Message:
    """`{"label": ..., "score": ...}`, or a list of them, as text."""
    try:
        rows = [json.loads(text) for text in texts] if isinstance(texts, Sequence) else []
        rows = rows[0] if len(rows) == 1 and isinstance(rows[0], list) else rows
        return {
            "names": [row["label"] for row in rows],
            "ndarray": [[row["score"] for row in rows]],
        }
    except (ValueError, TypeError, KeyError):
        return {}
