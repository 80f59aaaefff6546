"""Where Go's libraries differ from Python's: JSON, and the text of errors."""

from __future__ import annotations

import json
import math
import socket
from typing import Any

_ESCAPES = (
    (b"<", b"\\u003c"),
    (b">", b"\\u003e"),
    (b"&", b"\\u0026"),
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
)


def rewrite(text: bytes) -> Any:
    """Read JSON as Go does: a number is a float of 64 bits, and a whole one loses its fraction.

    Raises:
        ValueError: it is no JSON, or holds NaN or a number out of range.
    """
    return json.loads(text, parse_int=_number, parse_float=_number, parse_constant=_number)


def dumps(value: Any) -> bytes:
    """Write plain values: keys sorted, no spaces."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def escape_html(text: bytes) -> bytes:
    """JSON that may stand in a page: `<`, `>`, `&` and two line separators are escaped."""
    for character, escaped in _ESCAPES:
        text = text.replace(character, escaped)
    return text


def connection_refused(host: str, port: int) -> str:
    """Go's error for a port that nobody listens on."""
    return f"dial tcp {socket.gethostbyname(host)}:{port}: connect: connection refused"


def _number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits} is no number of JSON")
    return int(value) if value.is_integer() and abs(value) < 1e21 else value
