"""What the payloads of a log hold: texts of requests, answers by text, truths of feedback."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ab import wire_v2
from ab.wire import Message
from roberta_sentiment.label_names import label_named


def texts_of(message: Mapping[str, Any]) -> list[str | None]:
    """The texts of a request; None for each that is none, such as a row of token ids."""
    data, extra = message.get("data"), message.get("jsonData")
    if isinstance(tensors := message.get("inputs"), list):
        flat = [v for t in tensors if t.get("datatype") == "BYTES" for v in _flat(t.get("data"))]
        return [_text(value) for value in flat]
    if isinstance(data, dict) and isinstance(data.get("ndarray"), list):
        rows = data["ndarray"]
        return [_text(r[0] if isinstance(r, list) and len(r) == 1 else r) for r in rows]
    if isinstance(data, dict) and isinstance(data.get("tensor"), dict):
        return [None] * int((data["tensor"].get("shape") or [0])[0])
    if isinstance(extra, dict):
        extra = extra.get("texts")
    if extra is not None:
        return [_text(each) for each in (extra if isinstance(extra, list) else [extra])]
    if "binData" in message:
        try:
            return [base64.b64decode(message["binData"]).decode()]
        except (ValueError, TypeError, binascii.Error):
            return [None]
    return [_text(message.get("strData"))]


def answers_of(message: Mapping[str, Any]) -> list[Message]:
    """An answer, as one SeldonMessage a text."""
    if isinstance(outputs := message.get("outputs"), list):
        return _of_tensors(message, outputs)
    data, extra = message.get("data"), message.get("jsonData")
    names: Any
    rows: Any
    if isinstance(extra, dict) and isinstance(extra.get("predictions"), list):
        each = [one.get("scores") or {} for one in extra["predictions"]]
        names, rows = list(each[0]) if each else [], [list(one.values()) for one in each]
    elif isinstance(data, dict):
        names, rows = data.get("names"), data.get("ndarray")
        if isinstance(tensor := data.get("tensor"), dict):
            rows = _rows(tensor.get("values") or [], int((tensor.get("shape") or [1])[0]))
    else:
        return []
    meta: Any = message["meta"] if isinstance(message.get("meta"), dict) else {}
    tags = meta.get("tags") or {}
    cut = tags.get("truncated")
    found = []
    for i, row in enumerate(rows if isinstance(rows, list) else []):
        own = {"truncated": [i] if i in cut else []} if isinstance(cut, list) else {}
        data = {"names": names, "ndarray": [row]}
        found.append({"data": data, "meta": {**meta, "tags": {**tags, **own}}})
    return found


def _of_tensors(message: Mapping[str, Any], outputs: Sequence[Any]) -> list[Message]:
    tensors = [each for each in outputs if isinstance(each, dict) and each.get("data")]
    n = max((int((t.get("shape") or [1])[0]) for t in tensors), default=0)
    parts = [(t, _rows(_flat(t["data"]), n)) for t in tensors]
    return [
        wire_v2.as_seldon({**message, "outputs": [{**t, "data": r[i]} for t, r in parts]})
        for i in range(n)
    ]


def tags_of(message: Mapping[str, Any]) -> dict[str, str]:
    """The tags of a request; in V2 its parameters."""
    meta = message.get("meta")
    tags = meta.get("tags") if isinstance(meta, dict) else message.get("parameters")
    simple = (str, int, float, bool)
    given = tags if isinstance(tags, dict) else {}
    return {str(name): str(value) for name, value in given.items() if isinstance(value, simple)}


def truths_of(
    message: Mapping[str, Any], labels: Sequence[str], label_map: Mapping[str, str]
) -> list[str | None]:
    """The truths of a feedback by text: labels, indices or one-hot rows; None for what is none."""
    truth = message.get("truth")
    if not isinstance(truth, dict):
        return []
    data = truth.get("data") or {}
    rows = data.get("ndarray", [truth.get("strData")])
    if isinstance(tensor := data.get("tensor"), dict):
        rows = _rows(tensor.get("values") or [], int((tensor.get("shape") or [1])[0]))
    alone = [row[0] if isinstance(row, list) and len(row) == 1 else row for row in rows]
    return [_label(value, labels, label_map) for value in alone]


def _label(value: Any, labels: Sequence[str], label_map: Mapping[str, str]) -> str | None:
    if isinstance(value, list) and len(value) == len(labels) and sorted(value)[-2:] == [0, 1]:
        value = value.index(1)
    if isinstance(value, (int, float)) and value in range(len(labels)):
        return labels[int(value)]
    return label_named(value, labels, label_map) if isinstance(value, str) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _flat(values: Any) -> list[Any]:
    if not isinstance(values, list):
        return [values]
    return [each for value in values for each in _flat(value)]


def _rows(values: list[Any], n: int) -> list[list[Any]]:
    size = max(1, math.ceil(len(values) / max(1, n)))
    return [values[i : i + size] for i in range(0, len(values), size)]
