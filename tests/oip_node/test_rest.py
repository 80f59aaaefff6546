"""The guard before MLServer's REST application, without a server."""

from __future__ import annotations

import asyncio
import functools
import gzip
import json
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("mlserver", reason="make test-oip runs these in an environment with MLServer")

from fastapi import FastAPI
from fastapi.exceptions import WebSocketRequestValidationError
from mlserver.errors import MLServerError
from starlette.responses import JSONResponse

from oip_node import rest
from oip_node.errors import ServingError
from oip_node.rest import Guard
from roberta_sentiment.errors import OverloadedError, SentimentError
from roberta_sentiment.settings import Settings

MIB = 2**20
SETTINGS = Settings(max_body_bytes=2000)


def refuse(error: SentimentError) -> JSONResponse:
    return JSONResponse({"error": error.message}, error.http_status)


def admit(path: str) -> None:
    """Refuse what is asked of the model "full"."""
    if path == "/v2/models/full/infer":
        raise ServingError(OverloadedError("full; try again in 3 s", 3))


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
    path: str = "/v2/models/sentiment/infer",
) -> tuple[int, Any]:
    """Status and body of a request that comes in parts."""
    sent: list[dict[str, Any]] = []
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": part, "more_body": i + 1 < len(parts)}
        for i, part in enumerate(parts)
    ] or [{"type": "http.disconnect"}]
    named = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    scope = {"type": "http", "method": method, "path": path, "headers": named}

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run((guard or Guard(echo, SETTINGS, refuse, admit))(scope, receive, send))
    return (sent[0]["status"], json.loads(sent[1]["body"])) if sent else (0, None)


def test_bodies() -> None:
    """They come whole, whatever parts they came in, and unpacked."""
    assert (200, "whole") == ask(
        [b"who", b"le"], {"content-type": "application/json; charset=utf-8"}
    )
    assert (200, "whole") == ask([gzip.compress(b"whole")], {"content-encoding": "gzip"})
    assert (200, "") == ask([b""], {"content-length": "9999"}, method="GET")


def test_no_body() -> None:
    """Where the protocol needs none, it is a document without anything in it."""
    assert (200, "{}") == ask([b""], path="/v2/repository/index")
    assert (200, "") == ask([b""])


def test_no_room() -> None:
    """A request is refused before its body is read."""
    refused = {"error": "full; try again in 3 s"}
    assert (503, refused) == ask([], path="/v2/models/full/infer")


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v2/models/a/infer", [("a", None)]),
        ("/prefix/v2/models/a/versions/2/generate", [("a", "2")]),
        ("/v2/models/b/infer", []),
        ("/v2/models/loading/infer", []),
        ("/v2/repository/index", []),
    ],
)
def test_which_model_has_room(path: str, asked: list[tuple[str, str | None]]) -> None:
    """The one that the path names, if it is one of ours and ready."""
    found: list[tuple[str, str | None]] = []

    def model(name: str, version: str | None) -> SimpleNamespace:
        return SimpleNamespace(
            ready=name == "a", refuse_overload=lambda: found.append((name, version))
        )

    models = {
        name: SimpleNamespace(_find_model=functools.partial(model, name))
        for name in ("a", "loading")
    }
    plane = SimpleNamespace(_model_registry=SimpleNamespace(_models=models))
    rest._admit(plane, path)
    assert asked == found


def test_errors_take_no_thread() -> None:
    """Starlette gives a handler that is no coroutine to a thread, which waits for a CPU."""
    app = FastAPI(exception_handlers={MLServerError: lambda *_: None})
    server = SimpleNamespace(_app=app, _data_plane=None)
    rest.install(server, SETTINGS, ServingError)
    handlers = app.exception_handlers
    del handlers[WebSocketRequestValidationError]
    assert all(map(asyncio.iscoroutinefunction, handlers.values()))


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

    guard = Guard(nested, Settings(max_body_bytes=MIB, max_buffered_bytes=MIB), refuse, admit)
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
    scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    asyncio.run(Guard(echo, settings, refuse, admit)(scope, never, send))
    assert 408 == sent[0]["status"]
    assert b"(setting arrival_timeout)" in sent[1]["body"]
