"""The REST API of the stand-in executor.

Follows executor/api/rest of Seldon Core 1.19: bodies pass as bytes, every answer of a node but 200
is an error that keeps its status and body and loses its headers.
"""

from __future__ import annotations

import json
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

from ab.rehearsal import go
from ab.rehearsal.gateway_metrics import ExecutorMetrics
from ab.rehearsal.graph import GraphError, Node, PanicError, Predictor, Traversal
from ab.rehearsal.nodes_rest import Payload, RestNodes, StatusError, error_body

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
        route = _find_route(request.path)
        if route is None:
            return _response(404, b"404 page not found\n", {"Content-Type": _PLAIN, **_SAFE})
        if route.methods and request.method not in route.methods:
            return _response(405)
        puid = request.headers.get(PUID) or str(uuid.uuid4())
        headers = {**_CORS, **_SAFE, PUID: puid, **self._cloud_event(request, puid)}
        if route.methods:
            headers["Access-Control-Allow-Methods"] = ",".join(sorted(route.methods))
        if request.method == "OPTIONS":
            return _response(200, headers=headers)
        start = time.monotonic()
        response = self._handle(route, request, puid)
        if route.service:
            self._metrics.served(
                str(response.status_code), request.method.lower(), route.service, start
            )
        response.headers.update(headers)
        return response

    def _handle(self, route: _Route, request: Request, puid: str) -> Response:
        nodes = RestNodes(self._pool, self._metrics, _forwarded(request, puid))
        try:
            return route.handle(self, nodes, request)
        except GraphError as error:
            return _failed(500, error_body(str(error)))
        except StatusError as error:
            return _failed(error.status, error.body)

    def predictions(self, nodes: RestNodes, request: Request) -> Response:
        """The answer of the graph."""
        return _succeeded(Traversal(self._predictor, nodes, self._draw).predict(_payload(request)))

    def feedback(self, nodes: RestNodes, request: Request) -> Response:
        """The answer of the root node, or the request itself."""
        return _succeeded(Traversal(self._predictor, nodes, self._draw).feedback(_payload(request)))

    def status(self, nodes: RestNodes, request: Request) -> Response:
        """Health of one node."""
        return _succeeded(nodes.get(self._predictor.find(_model(request)), "/health/status"))

    def metadata(self, nodes: RestNodes, request: Request) -> Response:
        """Metadata of one node."""
        return _succeeded(nodes.get(self._predictor.find(_model(request)), "/metadata"))

    def graph_metadata(self, nodes: RestNodes, request: Request) -> Response:
        """Metadata of all nodes."""
        models = {
            node.name: json.loads(nodes.get(node, "/metadata").body)
            for node in self._predictor.graph.walk()
        }
        edge = models[self._predictor.edge.name]
        body = {
            "name": self._predictor.name,
            "models": {name: _model_metadata(models[name]) for name in sorted(models)},
            "graphinputs": _sorted_keys(edge.get("inputs")),
            "graphoutputs": _sorted_keys(edge.get("outputs")),
        }
        text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
        return _succeeded(Payload(text.encode(), "application/json"))

    def ready(self, nodes: RestNodes, request: Request) -> Response:
        """Whether every node takes connections."""
        return _response(200 if all(map(_listens, self._predictor.graph.walk())) else 503)

    def live(self, nodes: RestNodes, request: Request) -> Response:
        """Always well."""
        return _response(200)

    def prometheus(self, nodes: RestNodes, request: Request) -> Response:
        """Series of requests and calls."""
        page = generate_latest(self._metrics.registry)
        return _response(200, page, {"Content-Type": CONTENT_TYPE_LATEST})

    def doc(self, nodes: RestNodes, request: Request) -> Response:
        """The files of the interface's description, which are not here."""
        return _response(404, b"404 page not found\n", {"Content-Type": _PLAIN})

    def _cloud_event(self, request: Request, puid: str) -> dict[str, str]:
        if "Ce-Specversion" not in request.headers:
            return {}
        source = f"seldon.{self._predictor.deployment}"
        return {
            "Ce-Id": puid,
            "Ce-Specversion": "0.3",
            "Ce-Path": request.path,
            "Ce-Type": f"{source}.{self._predictor.namespace}.response",
            "Ce-Source": source,
        }


class _Route(NamedTuple):
    """One path.

    Attributes:
        pattern: of the whole path.
        handle: what to do.
        methods: allowed; none for all.
        service: label of its metrics; empty for none.
    """

    pattern: str
    handle: Callable[[RestApi, RestNodes, Request], Response]
    methods: tuple[str, ...] = ()
    service: str = ""


_POST, _GET = ("OPTIONS", "POST"), ("GET", "OPTIONS")
_API = r"/api/v(0\.1|1\.0)"
_ROUTES = (
    _Route(f"{_API}/predictions", RestApi.predictions, _POST, "predictions"),
    _Route(f"{_API}/feedback", RestApi.feedback, _POST, "feedback"),
    _Route(r"/api/v1\.0/(health/)?status", RestApi.ready, _GET, "status"),
    _Route(f"{_API}/status/[^/]+", RestApi.status, _GET, "status"),
    _Route(r"/api/v1\.0/metadata", RestApi.graph_metadata, _GET, "metadata"),
    _Route(f"{_API}/metadata/[^/]+", RestApi.metadata, _GET, "metadata"),
    _Route(f"{_API}/doc/.*", RestApi.doc),
    _Route("/ready", RestApi.ready),
    _Route("/live", RestApi.live),
    _Route("/prometheus", RestApi.prometheus),
)


class QuietHandler(WSGIRequestHandler):
    """Keeps connections open and writes no log."""

    protocol_version = "HTTP/1.1"

    def log(self, *_: object) -> None:
        """Nothing."""


def _find_route(path: str) -> _Route | None:
    return next((route for route in _ROUTES if re.fullmatch(route.pattern, path)), None)


def _model(request: Request) -> str:
    return request.path.rpartition("/")[2]


def _payload(request: Request) -> Payload:
    return Payload(request.get_data(), request.headers.get("Content-Type", ""))


def _forwarded(request: Request, puid: str) -> Headers:
    """The caller's headers for a node; the Content-Type goes with the body."""
    headers = Headers(
        [(k, v) for k, v in request.headers if k not in (*_CONNECTION_ONLY, "Content-Type")]
    )
    headers[PUID] = puid
    headers.setdefault("User-Agent", "Go-http-client/1.1")
    return headers


def _succeeded(payload: Payload) -> Response:
    body = go.escape_html(payload.body)
    return _response(200, body, {"Content-Type": payload.content_type})


def _failed(status: int, body: bytes) -> Response:
    """Without a content type Go guesses one from the body."""
    headers = {"Content-Type": _PLAIN} if body else {}
    return _response(status, go.escape_html(body), headers)


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


def _model_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A node's metadata with the fields that the executor knows, in its order."""
    fields = ("name", "platform", "versions", "inputs", "outputs", "custom")
    return {
        field: _sorted_keys(metadata[field])
        for field in fields
        if metadata.get(field) or (field in ("inputs", "outputs") and field in metadata)
    }


def _sorted_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted_keys(value[key]) for key in sorted(value)}
    return [_sorted_keys(item) for item in value] if isinstance(value, list) else value
