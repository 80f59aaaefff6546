"""What MLServer's REST application lacks: limits, `{"error": sentence}`, callers that leave."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import re
import zlib
from collections.abc import Callable
from typing import Any

from fastapi import HTTPException
from fastapi.exceptions import RequestValidationError
from mlserver.errors import MLServerError
from mlserver.rest.server import RESTServer
from mlserver.types import InferenceRequest
from mlserver.utils import extract_headers, insert_headers
from pydantic import ValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from oip_node.errors import ServingError
from roberta_sentiment.errors import (
    OWN_FAULT,
    BodyTooLargeError,
    OverloadedError,
    PayloadError,
    RequestError,
    SentimentError,
    shorten,
)
from roberta_sentiment.settings import Settings

Receive = Callable[[], Any]
Send = Callable[[Any], Any]

is_rest = contextvars.ContextVar("is_rest", default=False)
"""Whether this task answers a REST request."""

_MODEL = re.compile(r"/v2/models/([^/]+)/(?:versions/([^/]+)/)?")
"""In the paths of requests to score."""


class SlowBodyError(RequestError):
    """The body of a request did not arrive in time."""

    http_status = 408
    reason = "REQUEST_TIMEOUT"


class MediaTypeError(RequestError):
    """The body is not JSON by its headers."""

    http_status = 415
    reason = "UNSUPPORTED_MEDIA_TYPE"


def install(
    server: RESTServer, settings: Settings, failure_of: Callable[[SentimentError], ServingError]
) -> None:
    """Put the guard, inference and the error handlers into an application that may run already.

    Args:
        server: MLServer's.
        settings: the limits.
        failure_of: counts an error and makes MLServer's of it.
    """
    app = server._app
    if any(middleware.cls is Guard for middleware in app.user_middleware):
        return

    def refuse(error: SentimentError) -> JSONResponse:
        return _answer(failure_of(error))

    app.debug = False  # it would answer with stack traces
    app.exception_handlers |= {
        kind: _in_the_loop(handler)
        for kind, handler in {
            MLServerError: _answer,
            RequestValidationError: lambda error: refuse(PayloadError(_explain(error))),
            HTTPException: lambda error: _error(error.status_code, str(error.detail)),
            404: lambda _: _error(404, "there is no such path here"),
            405: lambda _: _error(405, "this path has no such method"),
            Exception: lambda _: _error(500, OWN_FAULT),
        }.items()
    }
    for route in app.routes:
        if route.name in ("infer", "infer_stream"):
            is_stream = route.name == "infer_stream"
            route.app = functools.partial(_infer, server._data_plane, is_stream)
        elif route.name in ("live", "ready", "model_ready"):
            route.app = functools.partial(_probe, route.endpoint, route.name.split("_")[-1])
    app.middleware_stack = None  # rebuilt with the next request
    admit = functools.partial(_admit, server._data_plane)
    app.add_middleware(Guard, settings=settings, refuse=refuse, admit=admit)


def refuse_overload(plane: Any, name: str, version: str | None) -> None:
    """Refuse a request for one of our models before anything is done for it.

    Raises:
        ServingError: too much waits for the model.
    """
    versions = plane._model_registry._models.get(name)
    model = versions and versions._find_model(version)
    if model and model.ready and hasattr(model, "refuse_overload"):
        model.refuse_overload()


def _admit(plane: Any, path: str) -> None:
    found = _MODEL.search(path)
    if found:
        refuse_overload(plane, *found.groups())


def _in_the_loop(handler: Callable[[Any], JSONResponse]) -> Callable[..., Any]:
    """An error handler that Starlette calls itself; for a plain function it takes a thread."""

    async def handle(_: Request, error: Exception) -> JSONResponse:
        return handler(error)

    return handle


async def _infer(plane: Any, is_stream: bool, scope: Any, receive: Receive, send: Send) -> None:
    """Answer a request to score as FastAPI would, which reads and writes it several times over.

    It ends as soon as the caller has left; MLServer would go on. A stream is one event, or an error
    like any other, for which MLServer breaks the connection.

    Raises:
        RequestValidationError: the body is no inference request.
        MLServerError: the model refuses it.
    """
    try:
        payload = InferenceRequest.model_validate_json((await receive())["body"])
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None
    insert_headers(payload, dict(Headers(scope=scope)))
    names = scope["path_params"]
    work = asyncio.create_task(
        plane.infer(payload, names["model_name"], names.get("model_version"))
    )
    gone = asyncio.create_task(receive())  # nothing comes any more but the caller's end
    gone.add_done_callback(lambda _: work.cancel())
    try:
        answer = await work
    except asyncio.CancelledError:
        if not gone.done():
            raise
        return
    finally:
        gone.cancel()
    headers = extract_headers(answer)
    body = answer.model_dump_json()
    response = (
        Response(f"data: {body}\n\n", 200, headers, "text/event-stream")
        if is_stream
        else Response(body, 200, headers, "application/json")
    )
    await response(scope, receive, send)


async def _probe(
    ask: Callable[..., Any], what: str, scope: Any, receive: Receive, send: Send
) -> None:
    """Answer a probe with the body that the protocol has, and MLServer leaves empty."""
    status = (await ask(**scope["path_params"])).status_code
    await JSONResponse({what: status == 200}, status)(scope, receive, send)


def _answer(error: MLServerError) -> JSONResponse:
    retry_after = getattr(error, "retry_after", None)
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return _error(error.status_code, str(error), headers)


def _error(status: int, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": sentence}, status, headers)


def _explain(error: RequestValidationError) -> str:
    """The first thing that is wrong with a body."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return shorten(f"the body is not JSON: {first['ctx']['error']}")
    where = ".".join(str(part)[:60] for part in first["loc"] if part != "body") or "the body"
    what = str(first["msg"])
    return shorten(f"{where}: {what[:1].lower()}{what[1:]}")


class Guard:
    """The outermost layer: admits a request, and reads its body within limits.

    Args:
        app: the application that it wraps.
        settings: the limits.
        refuse: makes the answer to a refused request.
        admit: raises a ServingError if there is no room for a request to this path.
    """

    def __init__(
        self,
        app: Any,
        settings: Settings,
        refuse: Callable[[SentimentError], JSONResponse],
        admit: Callable[[str], None],
    ) -> None:
        self._app = app
        self._settings = settings
        self._refuse = refuse
        self._admit = admit
        self._held = 0

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer one request."""
        is_rest.set(True)
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        try:
            self._admit(scope["path"])
            body = await self._read(scope, receive)
        except ClientDisconnect:
            return
        except ServingError as error:
            await _answer(error)(scope, receive, send)
            return
        except SentimentError as error:
            await self._refuse(error)(scope, receive, send)
            return
        if not body and scope["path"].endswith("/repository/index"):
            body = b"{}"  # what the protocol lets a client leave out, and Triton's does
        self._held += len(body)
        try:
            await self._app(scope, _replay(body, receive), send)
        finally:
            self._held -= len(body)

    async def _read(self, scope: Any, receive: Receive) -> bytes:
        """The body, unpacked.

        Raises:
            ClientDisconnect: the caller has left before its end.
            SentimentError: it is refused.
        """
        headers = MutableHeaders(scope=scope)
        limit = self._settings.max_body_bytes
        if int(headers.get("content-length", "0")) > limit:
            raise BodyTooLargeError(limit)
        _check_type(headers)
        try:
            async with asyncio.timeout(self._settings.arrival_timeout):
                packed = await self._receive_all(Request(scope, receive), limit)
        except TimeoutError:
            raise SlowBodyError(
                f"the body did not arrive within {self._settings.arrival_timeout} s (setting "
                "arrival_timeout); send it faster, or in several requests"
            ) from None
        if headers.get("content-encoding", "identity") == "identity":
            return packed
        del headers["content-encoding"]
        return _unpack(packed, limit)

    async def _receive_all(self, request: Request, limit: int) -> bytes:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > limit:
                raise BodyTooLargeError(limit)
            if self._held + len(body) > self._settings.max_buffered_bytes:
                raise OverloadedError("too many bytes of bodies are held at once", 1)
        return bytes(body)


def _check_type(headers: Headers) -> None:
    if "inference-header-content-length" in headers:
        raise MediaTypeError(
            "tensors in binary form after the JSON are not read here; send them as JSON "
            "(tritonclient: binary_data=False), or over gRPC"
        )
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise MediaTypeError(f"the body is {kind[:60]!r}; send JSON, Content-Type application/json")
    coding = headers.get("content-encoding", "identity")
    if coding not in ("identity", "gzip"):
        raise MediaTypeError(f"the body is in the coding {coding[:60]!r}; send gzip or none")


def _unpack(packed: bytes, limit: int) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        body = unpacker.decompress(packed, limit + 1)
    except zlib.error:
        raise PayloadError("the body is not in gzip, as its Content-Encoding says") from None
    if len(body) > limit:
        raise BodyTooLargeError(limit)
    if not unpacker.eof:
        raise PayloadError("the body ends before its gzip data do")
    return body


def _replay(body: bytes, receive: Receive) -> Receive:
    """Give a body that was read before, then whatever else comes."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Any:
        return messages.pop() if messages else await receive()

    return replay
