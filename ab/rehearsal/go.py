"""Where Go's libraries differ from Python's: JSON, and the text of errors."""

from __future__ import annotations

import json
import math
import re
import socket
from decimal import Decimal
from typing import Any

_ESCAPES = (
    (b"<", b"\\u003c"),
    (b">", b"\\u003e"),
    (b"&", b"\\u0026"),
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def loads(text: bytes) -> Any:
    """Read JSON into plain values; every number is a float of 64 bits.

    Raises:
        ValueError: it is no JSON, or holds NaN or a number out of range.
    """
    return json.loads(text, parse_int=_number, parse_float=_number, parse_constant=_constant)


def dumps(value: Any) -> str:
    """Write plain values: keys sorted, no spaces, whole numbers without a fraction.

    Args:
        value: of None, bool, float, int, str, list and dict.
    """
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-8", "replace"))
        return "{" + ",".join(f"{_text(key)}:{dumps(value[key])}" for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dumps, value)) + "]"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float):
        return _digits(value)
    return json.dumps(value)


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
    if math.isinf(value):
        raise ValueError(f"{digits} is out of range")
    return value


def _constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _text(value: str) -> str:
    return json.dumps(_LONE_SURROGATE.sub("\ufffd", value), ensure_ascii=False)


def _digits(value: float) -> str:
    """The shortest digits that give the same float, with an exponent below 1e-6 and from 1e21."""
    if value and not 1e-6 <= abs(value) < 1e21:
        mantissa, _, exponent = f"{Decimal(repr(value)).normalize():e}".partition("e")
        return f"{mantissa}e{int(exponent):+d}"
    digits = f"{Decimal(repr(value)):f}"
    return digits.removesuffix(".0")
