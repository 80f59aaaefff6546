"""From the body of a REST request to a SeldonMessage, within bounds: JSON, form or multipart."""

from __future__ import annotations

import base64
import io
import json
import math
import re
import threading
from typing import IO, Any
from urllib.parse import parse_qsl

from flask import current_app, g, request
from flask.json.provider import DefaultJSONProvider
from seldon_core.flask_utils import get_request as get_request_of_wrapper
from werkzeug.exceptions import BadRequest, UnsupportedMediaType
from werkzeug.formparser import MultiPartParser

from roberta_sentiment.errors import OverloadedError, PayloadError, RequestError
from roberta_sentiment.serving.wording import describe

BUDGET = "body_budget"
"""Extension of the Flask application: the `Budget` of its process."""

_MOST_FORM_FIELDS = 16
_PART_HEADER_BYTES = 4096
_PARTS = {
    "data", "binData", "strData", "jsonData", "customData", "meta", "status",
    "request", "response", "reward", "truth",
}  # fmt: skip
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_WEIGHTS = {b"[": 90, b"{": 190, b",": 40, b'"': 30}
"""Bytes of memory that Python takes for what begins at, or follows, these characters."""


class TooManyValuesError(RequestError):
    """The body is JSON of too many values to be read at once."""

    http_status = 413
    reason = "BODY_TOO_LARGE"


class StrictJSON(DefaultJSONProvider):
    """JSON as the standard has it: no NaN and no Infinity, neither in nor out."""

    sort_keys = False

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """Parse JSON.

        Raises:
            ValueError: it is malformed, or holds a number that is not finite or too long.
        """
        try:
            return json.loads(s, parse_constant=_refuse_constant, parse_float=_finite, **kwargs)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        except ValueError as error:
            if "int_max_str_digits" in str(error):
                raise ValueError("a number has too many digits") from None
            raise

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        """Write JSON.

        Raises:
            ValueError: a number is not finite.
        """
        return super().dumps(obj, allow_nan=False, **kwargs)


class Budget:
    """Memory for the bodies that a process reads at the same time.

    Args:
        total: bytes for all of them; one body may take half.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self.largest = total // 2
        self._taken = 0
        self._lock = threading.Lock()

    def acquire(self, cost: int) -> None:
        """Reserve memory.

        Raises:
            TooManyValuesError: one body would take more than half of all.
            OverloadedError: other bodies hold the memory.
        """
        if cost > self.largest:
            raise TooManyValuesError(
                f"to read the body would take {cost} bytes of memory, the limit is "
                f"{self.largest} (setting max_buffered_bytes); send it in several requests"
            )
        with self._lock:
            if self._taken and self._taken + cost > self._total:
                raise OverloadedError("other large bodies are being read; try again", 1)
            self._taken += cost

    def release(self, cost: int) -> None:
        """Release memory."""
        with self._lock:
            self._taken -= cost


def read_message(skip_decoding: bool = False) -> dict[str, Any]:
    """The SeldonMessage of this request, in place of the wrapper's `get_request`.

    Args:
        skip_decoding: as the wrapper's PAYLOAD_PASSTHROUGH asks.

    Raises:
        HTTPException: 400 or 415, the body can't be read.
        RequestError: it is too much for the memory there is.
    """
    coding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise UnsupportedMediaType(
            f"the Content-Encoding is {coding}; send the body without compression"
        )
    if skip_decoding:
        return get_request_of_wrapper(skip_decoding=True)  # type: ignore[no-any-return]
    if request.mimetype == "multipart/form-data":
        return _read_parts()
    field = _read_field()
    if field is not None:
        body = _parse(field, "the field json can't be read")
    elif not request.is_json:
        raise UnsupportedMediaType
    else:
        body = _parse(request.get_data(cache=False), "the body is not valid JSON")
    if not isinstance(body, dict):
        raise BadRequest(f"the body is {describe(body)}; a SeldonMessage object is needed")
    return body


def release_memory(_: BaseException | None = None) -> None:
    """Release what this request has reserved."""
    current_app.extensions[BUDGET].release(g.pop("memory_taken", 0))


def _reserve_memory(cost: int) -> None:
    current_app.extensions[BUDGET].acquire(cost)
    g.memory_taken = g.get("memory_taken", 0) + cost


def _parse(text: bytes, fault: str) -> Any:
    _reserve_memory(cost_of_json(text, current_app.extensions[BUDGET]))
    try:
        return current_app.json.loads(text)
    except ValueError as error:
        raise BadRequest(f"{fault}: {error}") from error


def cost_of_json(text: bytes, budget: Budget) -> int:
    """Bytes of memory to parse JSON: an upper bound, closer where it would not fit."""
    cost = _cost(text)
    if cost > budget.largest // 2:
        cost = len(text) + _cost(_STRING.sub(b'""', text))
    return cost


def _cost(text: bytes) -> int:
    return len(text) + sum(weight * text.count(sign) for sign, weight in _WEIGHTS.items())


def _read_field() -> bytes | None:
    """The field `json` of a form, or of the query."""
    if request.mimetype == "application/x-www-form-urlencoded":
        body = request.get_data(cache=False)
        _reserve_memory(4 * len(body))
        try:
            fields = dict(parse_qsl(body, max_num_fields=_MOST_FORM_FIELDS))
        except ValueError:
            raise BadRequest(f"the form has more than {_MOST_FORM_FIELDS} fields") from None
        if fields.get(b"json"):
            return fields[b"json"]
    in_query = request.args.get("json")
    return in_query.encode() if in_query else None


def _read_parts() -> dict[str, Any]:
    """A multipart body: each field of a SeldonMessage, or of feedback, as a part."""
    body = request.get_data(cache=False)
    boundary = request.mimetype_params.get("boundary", "").encode("latin-1", "replace")
    if not boundary:
        raise BadRequest("the Content-Type has no boundary")
    _check_parts(body, b"--" + boundary)
    _reserve_memory(4 * len(body))
    message: dict[str, Any] = {}
    for name, content, is_file in _parts_of(body, boundary):
        if name not in _PARTS:
            raise BadRequest(f"there is no field {name} in a SeldonMessage or in feedback")
        if name == "binData" and is_file:
            message[name] = base64.b64encode(content).decode()
        elif name == "strData" or is_file:
            message[name] = _decode(content, name)
        else:
            message[name] = _parse(content, f"the part {name} is not valid JSON")
    return message


def _parts_of(body: bytes, boundary: bytes) -> list[tuple[str, bytes, bool]]:
    """Name and content of each part, and whether it was sent as a file."""
    parser = MultiPartParser(
        stream_factory=_in_memory,
        max_form_memory_size=None,
        max_form_parts=2 * len(_PARTS),
    )
    try:
        form, files = parser.parse(io.BytesIO(body), boundary, len(body))
    except ValueError as error:
        raise BadRequest(f"the multipart body can't be read: {error}") from error
    parts = [
        (name, value.encode("utf-8", "surrogateescape"), False) for name, value in form.items()
    ]
    return parts + [(name, file.read(), True) for name, file in files.items()]


def _in_memory(*_: object, **__: object) -> IO[bytes]:
    return io.BytesIO()


def _check_parts(body: bytes, delimiter: bytes) -> None:
    """Refuse more parts than a message has fields, and headers of an absurd size."""
    if body.count(delimiter) > 2 * len(_PARTS):
        raise BadRequest(f"the multipart body has more than {2 * len(_PARTS)} parts")
    start = body.find(delimiter)
    while start >= 0:
        start += len(delimiter)
        following = body.find(delimiter, start)
        end = body.find(b"\r\n\r\n", start, start + _PART_HEADER_BYTES)
        if end < 0 and following >= 0:
            raise BadRequest(f"the header of a part is longer than {_PART_HEADER_BYTES} bytes")
        start = following


def _decode(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PayloadError(f"the part {name} is not UTF-8 (byte {error.start})") from error


def _refuse_constant(word: str) -> float:
    raise ValueError(f"{word} is not a JSON number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits[:40]} is too large")
    return value
