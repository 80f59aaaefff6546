"""gRPC's codes for HTTP's."""

from __future__ import annotations

import grpc
import pytest

from roberta_sentiment.serving.grpc_status import code_of, retry_metadata


@pytest.mark.parametrize(
    ("code", "http_status"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, 400),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 413),
        (grpc.StatusCode.CANCELLED, 499),
        (grpc.StatusCode.INTERNAL, 500),
        (grpc.StatusCode.UNIMPLEMENTED, 501),
        (grpc.StatusCode.UNAVAILABLE, 503),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 504),
        (grpc.StatusCode.INTERNAL, 418),
    ],
)
def test_a_status_has_a_code_that_means_the_same(code: grpc.StatusCode, http_status: int) -> None:
    """A client decides by it whether to try again; an unknown status is our own fault."""
    assert code == code_of(http_status)


def test_the_pause_is_told_in_seconds_and_in_milliseconds() -> None:
    """Clients read the first, gRPC's own retries the second."""
    assert {"retry-after": "2", "grpc-retry-pushback-ms": "2000"} == dict(retry_metadata(2))
