"""Reading a REST request: stricter than waitress where two readers could see different requests."""

from __future__ import annotations

import json
import time
from typing import Any

from waitress.adjustments import Adjustments
from waitress.parser import HTTPRequestParser, ParsingError, TransferEncodingNotImplemented
from waitress.utilities import Error

from roberta_sentiment.errors import BodyTooLargeError
from seldon_node.logs import printable

SMALL_BODY = 64 * 1024
"""Bytes of a body that is never refused for lack of room."""

HEADER_BYTES = 64 * 1024
_CHUNK_LINE_BYTES = 4096
_CHUNK_OVERHEAD = 8
"""Bytes on the wire for a byte of a chunked body; chunks of one byte have six."""


class RefusedError(Error):  # type: ignore[misc]  # waitress is untyped
    """Why the server does not hand a request to the application.

    Args:
        code: HTTP status.
        reason: one word for programs.
        info: a sentence for people.
    """

    def __init__(self, code: int, reason: str, info: str) -> None:
        super().__init__(info)
        self.code = code
        self.reason = reason
        self.info = printable(info)

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
        """Status line, headers and body of the answer, in the form of all our errors."""
        status = {
            "code": self.code, "info": self.info, "reason": self.reason, "status": "FAILURE",
        }  # fmt: skip
        headers = [("Content-Type", "application/json")]
        if self.code == 503:
            headers.append(("Retry-After", "1"))
        line = f"{self.code} {_PHRASES[self.code]}"
        return line, headers, json.dumps({"status": status}).encode()


_PHRASES = {
    400: "Bad Request", 408: "Request Timeout", 413: "Content Too Large",
    431: "Request Header Fields Too Large", 500: "Internal Server Error",
    503: "Service Unavailable",
}  # fmt: skip


class Parser(HTTPRequestParser):  # type: ignore[misc]
    """Reads a request; stricter than waitress where two readers could see different requests."""

    started = 0.0
    error: Any
    completed: bool

    def received(self, data: bytes) -> int:
        """Take what belongs to this request; return how many bytes that was."""
        self.started = self.started or time.monotonic()
        consumed = int(super().received(data))
        if self.chunked and not self.error:
            self._limit_chunks()
        self.completed = self.completed or self.error is not None
        if self.error and not isinstance(self.error, RefusedError):
            self.error = self._explain(self.error)
        return consumed

    def parse_header(self, header_plus: bytes) -> None:
        """Read the request line and the headers.

        Raises:
            ParsingError: they are malformed or ambiguous.
        """
        for line in header_plus.split(b"\r\n")[1:]:
            name = line.partition(b":")[0].lower()
            if name in (b"content-length", b"host", b"transfer-encoding") and name in self._seen:
                raise ParsingError(f"there are two headers {name.decode()}")
            self._seen.add(name)
        if {b"content-length", b"transfer-encoding"} <= self._seen:
            raise ParsingError("Content-Length and Transfer-Encoding exclude each other")
        try:
            super().parse_header(header_plus)
        except (TransferEncodingNotImplemented, ValueError, UnicodeError) as error:
            raise ParsingError(str(error)) from error
        if self.content_length > self.adj.body_limit:
            self.error = BodyTooLargeError(self.adj.body_limit)
        if self.version not in ("1.0", "1.1"):
            raise ParsingError("HTTP/1.0 and HTTP/1.1 are spoken here")
        if b"transfer-encoding" in self._seen and self.version == "1.0":
            raise ParsingError("HTTP/1.0 knows no Transfer-Encoding")

    def __init__(self, adj: Adjustments) -> None:
        super().__init__(adj)
        self._seen: set[bytes] = set()

    @property
    def held(self) -> int:
        """Bytes of the body so far."""
        return 0 if self.body_rcv is None else int(self.body_rcv.__len__())

    def _limit_chunks(self) -> None:
        """End a chunked body whose content, or whose framing, is too large."""
        limit = self.adj.body_limit
        framing = self.body_bytes_received - self.held
        if self.held > limit:
            self.error = BodyTooLargeError(limit)
        elif max(
            len(self.body_rcv.control_line), len(self.body_rcv.trailer)
        ) > _CHUNK_LINE_BYTES or framing > _CHUNK_OVERHEAD * (self.held + SMALL_BODY):
            self.error = RefusedError(
                400, "BAD_REQUEST", "the framing of the chunked body is too large"
            )

    def _explain(self, error: Any) -> RefusedError:
        if isinstance(error, BodyTooLargeError):
            return RefusedError(413, error.reason, error.message)
        if error.code == 431:
            info = f"the request line and headers are larger than {HEADER_BYTES} bytes"
            return RefusedError(431, "HEADER_TOO_LARGE", info)
        return RefusedError(400, "BAD_REQUEST", f"the request is not valid HTTP: {error.body}")
