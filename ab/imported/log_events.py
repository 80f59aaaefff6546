"""The events of a request log, as files and the HTTP sink bring them."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from seldon_core.proto.prediction_pb2 import SeldonMessage

from ab.transport import proto_v2
from roberta_sentiment.errors import DataError

KINDS = ("request", "response", "feedback")


@dataclasses.dataclass(frozen=True)
class LogEvent:
    """One event.

    Attributes:
        kind: of `KINDS`.
        request: id that it shares with the other events of its request; feedback has its own.
        deployment, predictor, node: where it comes from; empty where it does not say.
        time: s since 1970.
        message: the payload in its JSON form, Seldon's or V2's; empty if it can't be read.
    """

    kind: str
    request: str
    deployment: str
    predictor: str
    node: str
    time: float
    message: Mapping[str, Any]


def read_events(path: Path) -> Iterator[LogEvent | None]:
    """The events in a file; None for what is none.

    JSON lines (or one JSON value) of CloudEvents, as `headers` and `body` or in structured form, or
    of documents of Seldon's request logger, as Elasticsearch exports them.

    Raises:
        DataError: the file can't be read.
    """
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            entries: Iterator[Any] = map(_parsed, filter(str.strip, file))
            first = next(entries, None)
            if first is None:  # one value over many lines, or a line that is cut short
                file.seek(0)
                whole = _parsed(text := file.read())
                entries = map(_parsed, text.split("\n")) if whole is None else iter([whole])
                first = next(entries)
            for entry in itertools.chain([first], entries):
                yield from of_entry(entry)
    except OSError as error:
        raise DataError(f"{path.name} can't be read: {error.strerror}") from None


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def of_entry(entry: Any) -> Iterator[LogEvent | None]:
    """The events in a JSON value; None for what is none."""
    if isinstance(entry, dict) and "hits" in entry:
        entry = entry["hits"]["hits"] if isinstance(entry["hits"], dict) else entry["hits"]
    if isinstance(entry, list):
        for each in entry:
            yield from of_entry(each)
        return
    if isinstance(entry, dict):
        entry = entry.get("_source", entry)
    if not isinstance(entry, dict):
        yield None
    elif "headers" in entry:
        yield cloud_event(entry["headers"], entry.get("body"))
    elif "specversion" in entry:
        data = entry.get("data", {"base64": entry.get("data_base64", "")})
        yield cloud_event({f"ce-{k}": v for k, v in entry.items()}, data)
    elif any(kind in entry for kind in KINDS):
        for kind in KINDS:
            if isinstance(part := entry.get(kind), dict):
                headers = {**entry, "ce-time": entry.get("@timestamp"), **part}
                headers |= {"ce-type": kind, "ce-requestid": entry.get("RequestId")}
                yield cloud_event(headers, part.get("payload", part))
    else:
        yield None


def cloud_event(headers: Mapping[str, Any], body: Any) -> LogEvent | None:
    """A CloudEvent; None if it is about something else.

    Args:
        headers: `ce-type`, `ce-requestid` and so on, in any case.
        body: of the request or answer: JSON, its text, bytes, or {"base64": ...}.
    """
    given = {str(name).lower(): value for name, value in headers.items()}
    kind = str(given.get("ce-type", "")).rpartition(".")[2]
    request = given.get("ce-requestid") or given.get("ce-id")
    if kind not in KINDS or not request:
        return None
    try:
        time = datetime.datetime.fromisoformat(str(given.get("ce-time"))).timestamp()
    except ValueError:
        return None
    origin = ("inferenceservicename", "endpoint", "modelid", "protocol")
    deployment, predictor, node, protocol = (str(given.get(f"ce-{n}") or "") for n in origin)
    message = _message(body, kind, protocol)
    return LogEvent(kind, str(request), deployment, predictor, node, time, message)


def _message(body: Any, kind: str, protocol: str) -> Mapping[str, Any]:
    if isinstance(body, dict) and body.keys() == {"base64"}:
        body = base64.b64decode(body["base64"])
    try:
        if isinstance(body, (str, bytes)) and body[:1] in (b"{", "{"):
            body = json.loads(body)
        elif isinstance(body, bytes) and protocol == "v2":
            body = proto_v2.response(body) if kind == "response" else proto_v2.read_request(body)
        elif isinstance(body, bytes):
            body = json_format.MessageToDict(SeldonMessage.FromString(body))
    except (ValueError, DecodeError):
        return {}
    return body if isinstance(body, dict) else {}
