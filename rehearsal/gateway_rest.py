"""The REST API of the stand-in executor.

Follows executor/api/rest of Seldon Core 1.19: bodies pass as bytes, every answer of a node but 200
is an error that keeps its status and body and loses its headers.
"""

from __future__ import annotations

import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import urllib3
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from werkzeug.datastructures import Headers
from werkzeug.serving import WSGIRequestHandler
from werkzeug.wrappers import Request, Response
from werkzeug.wsgi import ClosingIterator

from rehearsal import go
from rehearsal.gateway_metrics import ExecutorMetrics
from rehearsal.graph import GraphError, Node, PanicError, Predictor, Traversal
from rehearsal.nodes_rest import Payload, RestNodes, StatusError, error_body

PUID = "Seldon-Puid"

_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "Accept, Accept-Encoding, Authorization, Content-Length, "
    "Content-Type, X-CSRF-Token",
}
_SAFE = {"X-Content-Type-Options": "nosniff"}
_PLAIN = "text/plain; charset=utf-8"
_CONNECTION_ONLY = ("Host", "Content-Length", "Transfer-Encoding", "Connection")
_REDIRECTS = urllib3.Retry(None, connect=0, read=0, status=0, other=0, redirect=9)


class RestApi:
    """A WSGI application.

    Args:
        predictor: to serve.
        draw: a number from 0 to below 1, for RANDOM_ABTEST.
        metrics: of the executor.
    """

    def __init__(
        self, predictor: Predictor, draw: Callable[[], float], metrics: ExecutorMetrics
    ) -> None:
        self._predictor, self._draw, self._metrics = predictor, draw, metrics
        self._routes = (*(_V2 if predictor.v2 else _SELDON), *_OWN)
        self._pool = urllib3.PoolManager(maxsize=64, retries=_REDIRECTS)
        self._running, self._changed = 0, threading.Condition()

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer one request."""
        self._count(1)
        try:
            response = self._respond(Request(environ))
            return ClosingIterator(response(environ, start_response), lambda: self._count(-1))
        except BaseException as error:
            self._count(-1)
            if not isinstance(error, PanicError):
                raise
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError(str(error)) from None

    def wait_until_idle(self, limit_s: float) -> bool:
        """Whether the running requests have ended within this time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._running == 0, limit_s)

    def _count(self, change: int) -> None:
        with self._changed:
            self._running += change
            self._changed.notify_all()

    def _respond(self, request: Request) -> Response:
        matches = ((r, re.fullmatch(r.pattern, request.path)) for r in self._routes)
        route, match = next((found for found in matches if found[1]), (None, None))
        if route is None or match is None:
            return _response(404, b"404 page not found\n", {"Content-Type": _PLAIN, **_SAFE})
        if route.methods and request.method not in route.methods.split(","):
            return _response(405)
        puid = request.headers.get(PUID) or str(uuid.uuid4())
        headers = {**_CORS, **_SAFE, PUID: puid}
        if route.methods:
            headers["Access-Control-Allow-Methods"] = route.methods
        if request.method == "OPTIONS":
            return _response(200, headers=headers)
        start = time.monotonic()
        response = self._handle(route, match.groupdict().get("model"), request, puid)
        if route.service:
            code, method = str(response.status_code), request.method.lower()
            self._metrics.observe(code, method, route.service, start)
        response.headers.update(headers)
        return response

    def _handle(self, route: _Route, model: str | None, request: Request, puid: str) -> Response:
        if route.answer is not None:
            return route.answer(self)
        named = (model or "") if self._predictor.v2 else None
        nodes = RestNodes(self._pool, self._metrics, _forwarded(request, puid), named)
        payload = Payload(request.get_data(), request.headers.get("Content-Type", ""))
        try:
            if route.of_node:
                path, get = route.of_node.format(model), Payload(None, "application/json")
                answer = nodes.request(self._predictor.find(str(model)), "GET", path, get)
            elif route.service == "feedback":
                answer = Traversal(self._predictor, nodes, self._draw).feedback(payload)
            else:
                if self._predictor.v2:
                    go.rewrite(payload.body or b"")
                answer = Traversal(self._predictor, nodes, self._draw).predict(payload)
        except (GraphError, ValueError) as error:
            return _failed(500, error_body(str(error)))
        except StatusError as error:
            return _failed(error.status, error.body)
        body = go.escape_html(answer.body or b"")
        return _response(200, body, {"Content-Type": answer.content_type})

    def ready(self) -> Response:
        """Whether every node takes connections."""
        return _response(200 if all(map(_listens, self._predictor.graph.walk())) else 503)

    def live(self) -> Response:
        """Always well."""
        return _response(200)

    def prometheus(self) -> Response:
        """Series of requests and calls."""
        page = generate_latest(self._metrics.registry)
        return _response(200, page, {"Content-Type": CONTENT_TYPE_LATEST})


class _Route(NamedTuple):
    """One path.

    Attributes:
        pattern: of the whole path.
        methods: allowed; empty for all.
        service: label of its metrics; empty for none.
        of_node: path at the node that it names, for a GET that is handed on.
        answer: what the executor says itself.
    """

    pattern: str
    methods: str = ""
    service: str = ""
    of_node: str = ""
    answer: Callable[[RestApi], Response] | None = None


_POST, _GET = "OPTIONS,POST", "GET,OPTIONS"
_API = r"/api/v(?:0\.1|1\.0)"
_SELDON = (
    _Route(f"{_API}/predictions", _POST, "predictions"),
    _Route(f"{_API}/feedback", _POST, "feedback"),
    _Route(r"/api/v1\.0/(health/)?status", _GET, "status", answer=RestApi.ready),
    _Route(f"{_API}/status/(?P<model>[^/]+)", _GET, "status", "/health/status"),
    _Route(f"{_API}/metadata/(?P<model>[^/]+)", _GET, "metadata", "/metadata"),
)
_V2 = (
    _Route("/v2/models/infer", f"{_POST},{_GET}", "predictions"),
    _Route("/v2/models/(?P<model>[^/]+)/infer", _POST, "predictions"),
    _Route("/v2/models/(?P<model>[^/]+)/ready", _GET, "status", "/v2/models/{}/ready"),
    _Route("/v2/models/(?P<model>[^/]+)", _GET, "metadata", "/v2/models/{}"),
    _Route("/v2/health/ready", _GET, "status", answer=RestApi.ready),
)
_OWN = (
    _Route("/ready", answer=RestApi.ready),
    _Route("/live", answer=RestApi.live),
    _Route("/prometheus", answer=RestApi.prometheus),
)


class QuietHandler(WSGIRequestHandler):
    """Keeps connections open and writes no log."""

    protocol_version = "HTTP/1.1"

    def log(self, *_: object) -> None:
        """Nothing."""


def _forwarded(request: Request, puid: str) -> Headers:
    """The caller's headers for a node; the Content-Type goes with the body."""
    headers = Headers(
        [(k, v) for k, v in request.headers if k not in (*_CONNECTION_ONLY, "Content-Type")]
    )
    headers[PUID] = puid
    headers.setdefault("User-Agent", "Go-http-client/1.1")
    return headers


def _failed(status: int, body: bytes) -> Response:
    """Without a content type Go guesses one from the body."""
    return _response(status, go.escape_html(body), {"Content-Type": _PLAIN} if body else {})


def _response(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Response:
    response = Response(body, status)
    del response.headers["Content-Type"]
    response.headers.update(headers or {})
    return response


def _listens(node: Node) -> bool:
    """Whether a node takes connections; one without a container is always ready."""
    if not node.host:
        return True
    try:
        socket.create_connection((node.host, node.http_port)).close()
    except OSError:
        return False
    return True
