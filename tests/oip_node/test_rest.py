"""The guard before MLServer's REST application, without a server."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest

pytest.importorskip("mlserver", reason="make test-oip runs these in an environment with MLServer")

from starlette.responses import JSONResponse

from oip_node.rest import Guard
from roberta_sentiment.errors import SentimentError
from roberta_sentiment.settings import Settings

MIB = 2**20
SETTINGS = Settings(max_body_bytes=2000)


def refuse(error: SentimentError) -> JSONResponse:
    return JSONResponse({"error": error.message}, error.http_status)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """An application that answers with the body it gets."""
    message = await receive()
    await JSONResponse(message["body"].decode())(scope, receive, send)


def ask(
    parts: list[bytes],
    headers: dict[str, str] | None = None,
    *,
    guard: Guard | None = None,
    method: str = "POST",
) -> tuple[int, Any]:
    """Status and body of a request that comes in parts."""
    sent: list[dict[str, Any]] = []
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": part, "more_body": i + 1 < len(parts)}
        for i, part in enumerate(parts)
    ] or [{"type": "http.disconnect"}]
    named = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    scope = {"type": "http", "method": method, "headers": named}

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run((guard or Guard(echo, SETTINGS, refuse))(scope, receive, send))
    return (sent[0]["status"], json.loads(sent[1]["body"])) if sent else (0, None)


def test_bodies() -> None:
    """They come whole, whatever parts they came in, and unpacked."""
    assert (200, "whole") == ask(
        [b"who", b"le"], {"content-type": "application/json; charset=utf-8"}
    )
    assert (200, "whole") == ask([gzip.compress(b"whole")], {"content-encoding": "gzip"})
    assert (200, "") == ask([b""], {"content-length": "9999"}, method="GET")


@pytest.mark.parametrize(
    ("parts", "headers", "status", "sentence"),
    [
        ([b"a"], {"content-length": "2001"}, 413, "(setting max_body_bytes)"),
        ([b"a" * 1200, b"a" * 1200], {}, 413, "(setting max_body_bytes)"),
        ([gzip.compress(b"a" * 9999)], {"content-encoding": "gzip"}, 413, "max_body_bytes"),
        ([gzip.compress(b"a")[:-9]], {"content-encoding": "gzip"}, 400, "before its gzip data"),
        ([b"aaaa"], {"content-encoding": "gzip"}, 400, "not in gzip"),
        ([b"a"], {"content-encoding": "br"}, 415, "send gzip or none"),
        ([b"a"], {"content-type": "text/plain"}, 415, "send JSON"),
        ([b"a"], {"inference-header-content-length": "1"}, 415, "binary_data=False"),
    ],
)
def test_refused_bodies(
    parts: list[bytes], headers: dict[str, str], status: int, sentence: str
) -> None:
    """With the limit or the way out."""
    found, body = ask(parts, headers)
    assert status == found
    assert sentence in body["error"]


def test_a_caller_that_leaves_before_the_end() -> None:
    """Nobody is answered, and nothing runs."""
    assert (0, None) == ask([])


def test_bytes_that_are_held() -> None:
    """Bodies of running requests count together; those that have ended do not."""
    outcomes: list[tuple[int, Any]] = []

    async def nested(scope: Any, receive: Any, send: Any) -> None:
        if not outcomes:
            outcomes.append(await asyncio.to_thread(ask, [b"a" * 600_000], guard=guard))
        await echo(scope, receive, send)

    guard = Guard(nested, Settings(max_body_bytes=MIB, max_buffered_bytes=MIB), refuse)
    assert (200, "b" * 600_000) == ask([b"b" * 600_000], guard=guard)
    assert [(503, {"error": "too many bytes of bodies are held at once"})] == outcomes
    assert (200, "b" * 600_000) == ask([b"b" * 600_000], guard=guard)


def test_a_body_that_never_ends() -> None:
    """It is refused after its time."""

    async def never() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    settings = Settings(arrival_timeout=1)
    scope = {"type": "http", "method": "POST", "headers": []}
    asyncio.run(Guard(echo, settings, refuse)(scope, never, send))
    assert 408 == sent[0]["status"]
    assert b"(setting arrival_timeout)" in sent[1]["body"]
