"""How gRPC says what HTTP says: the code of a status, and when to try again."""

from __future__ import annotations

import grpc

from roberta_sentiment.errors import grpc_code


def code_of(http_status: int) -> grpc.StatusCode:
    """The gRPC code that means the same as an HTTP status."""
    return grpc.StatusCode[grpc_code(http_status)]


def retry_metadata(seconds: int) -> tuple[tuple[str, str], ...]:
    """REST's Retry-After, and the pause that gRPC's own retries keep."""
    return ("retry-after", str(seconds)), ("grpc-retry-pushback-ms", str(seconds * 1000))
