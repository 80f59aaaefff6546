"""The REST door of the stand-in executor.

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
from http import HTTPStatus
from typing import Any
from urllib.parse import urljoin

import urllib3
from google.protobuf import json_format
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from seldon_core.proto import prediction_pb2
from urllib3.exceptions import HTTPError, MaxRetryError
from werkzeug.datastructures import Headers
from werkzeug.serving import WSGIRequestHandler
from werkzeug.wrappers import Request, Response
from werkzeug.wsgi import ClosingIterator

from ab.rehearsal import go
from ab.rehearsal.gateway_metrics import ExecutorMetrics
from ab.rehearsal.graph import (
    ALL_CHILDREN,
    GraphError,
    Node,
    PanicError,
    Predictor,
    Walk,
    choice_in,
)

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


class Payload:
    """A body on its way.

    Attributes:
        body: as it came.
        content_type: of it.
    """

    def __init__(self, body: bytes, content_type: str) -> None:
        self.body, self.content_type = body, content_type


class StatusError(Exception):
    """A call that failed.

    Attributes:
        status: for the caller.
        body: for the caller.
    """

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status)
        self.status, self.body = status, body


class RestDoor:
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
        call = _Call(self._predictor, self._pool, self._metrics, _forwarded(request, puid))
        try:
            return route.handle(self, call, request)
        except GraphError as error:
            return _failed(500, _error_body(str(error)))
        except StatusError as error:
            return _failed(error.status, error.body)

    def predictions(self, call: _Call, request: Request) -> Response:
        """The answer of the graph."""
        return _succeeded(Walk(self._predictor, call, self._draw).predict(_payload(request)))

    def feedback(self, call: _Call, request: Request) -> Response:
        """The answer of the root node, or the request itself."""
        return _succeeded(Walk(self._predictor, call, self._draw).feedback(_payload(request)))

    def status(self, call: _Call, request: Request) -> Response:
        """Health of one node."""
        return _succeeded(call.get(self._predictor.find(_model(request)), "/health/status"))

    def metadata(self, call: _Call, request: Request) -> Response:
        """Metadata of one node."""
        return _succeeded(call.get(self._predictor.find(_model(request)), "/metadata"))

    def graph_metadata(self, call: _Call, request: Request) -> Response:
        """Metadata of all nodes."""
        models = {
            node.name: json.loads(call.get(node, "/metadata").body)
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

    def ready(self, call: _Call, request: Request) -> Response:
        """Whether every node takes connections."""
        return _response(200 if all(map(_listens, self._predictor.graph.walk())) else 503)

    def live(self, call: _Call, request: Request) -> Response:
        """Always well."""
        return _response(200)

    def prometheus(self, call: _Call, request: Request) -> Response:
        """Series of requests and calls."""
        page = generate_latest(self._metrics.registry)
        return _response(200, page, {"Content-Type": CONTENT_TYPE_LATEST})

    def doc(self, call: _Call, request: Request) -> Response:
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


class _Route:
    """One path.

    Args:
        pattern: of the whole path.
        handle: what to do.
        methods: allowed; none for all.
        service: label of its metrics; empty for none.
    """

    def __init__(
        self,
        pattern: str,
        handle: Callable[[RestDoor, _Call, Request], Response],
        methods: tuple[str, ...] = (),
        service: str = "",
    ) -> None:
        self.pattern, self.handle = re.compile(pattern), handle
        self.methods, self.service = methods, service


_POST, _GET = ("OPTIONS", "POST"), ("GET", "OPTIONS")
_API = r"/api/v(0\.1|1\.0)"
_ROUTES = (
    _Route(f"{_API}/predictions", RestDoor.predictions, _POST, "predictions"),
    _Route(f"{_API}/feedback", RestDoor.feedback, _POST, "feedback"),
    _Route(r"/api/v1\.0/(health/)?status", RestDoor.ready, _GET, "status"),
    _Route(f"{_API}/status/[^/]+", RestDoor.status, _GET, "status"),
    _Route(r"/api/v1\.0/metadata", RestDoor.graph_metadata, _GET, "metadata"),
    _Route(f"{_API}/metadata/[^/]+", RestDoor.metadata, _GET, "metadata"),
    _Route(f"{_API}/doc/.*", RestDoor.doc),
    _Route("/ready", RestDoor.ready),
    _Route("/live", RestDoor.live),
    _Route("/prometheus", RestDoor.prometheus),
)


class _Call:
    """Calls of one request to nodes; see `ab.rehearsal.graph.NodeCalls`."""

    def __init__(
        self,
        predictor: Predictor,
        pool: urllib3.PoolManager,
        metrics: ExecutorMetrics,
        headers: Headers,
    ) -> None:
        self._predictor, self._pool = predictor, pool
        self._metrics, self._headers = metrics, headers

    def predict(self, node: Node, message: Payload) -> Payload:
        return self._post(node, "/predict", message)

    def send_feedback(self, node: Node, message: Payload) -> Payload:
        return self._post(node, "/send-feedback", message)

    def route(self, node: Node, message: Payload) -> int:
        try:
            answer = self._post(node, "/route", message)
        except StatusError as error:
            if isinstance(error.__cause__, HTTPError):
                raise
            info = (
                f"Internal service call from executor failed calling {_url(node, '/route')} "
                f"status code {error.status}"
            )
            raise StatusError(error.status, _error_body(info)) from None
        return read_choice(answer.body)

    def feedback_route(self, node: Node, message: Payload) -> int:
        try:
            feedback = json_format.Parse(message.body, prediction_pb2.Feedback())
        except (json_format.ParseError, UnicodeDecodeError):
            return ALL_CHILDREN
        return int(feedback.response.meta.routing.get(node.name, ALL_CHILDREN))

    def with_routing(self, message: Payload, routing: Mapping[str, int]) -> Payload:
        """Only JSON with a `meta` gets it, but all JSON is written anew."""
        try:
            value = go.loads(message.body)
        except ValueError:
            return message
        if isinstance(value, dict) and isinstance(value.get("meta"), dict):
            value["meta"]["routing"] = dict(routing)
        return Payload(go.dumps(value).encode("utf-8", "replace"), message.content_type)

    def get(self, node: Node, path: str) -> Payload:
        """The answer of a node to GET."""
        if not node.host:
            raise PanicError(f"{node.name} has no endpoint")
        return self._request(node, "GET", path, None, "application/json")

    def _post(self, node: Node, path: str, message: Payload) -> Payload:
        return self._request(node, "POST", path, message.body, message.content_type)

    def _request(
        self, node: Node, method: str, path: str, body: bytes | None, content_type: str
    ) -> Payload:
        headers = Headers(self._headers)
        if content_type:
            headers["Content-Type"] = content_type
        url, start = _url(node, path), time.monotonic()
        try:
            answer = self._pool.request(
                method, url, body=body, headers=urllib3.HTTPHeaderDict(headers.to_wsgi_list())
            )
        except HTTPError as error:
            text = f'{method.capitalize()} "{_last_url(url, error)}": {_reason(error, node)}'
            raise StatusError(500, _error_body(text)) from error
        self._metrics.called(str(answer.status), method.lower(), path, node, start)
        if answer.status != HTTPStatus.OK:
            raise StatusError(answer.status, answer.data)
        return Payload(answer.data, answer.headers.get("Content-Type", ""))


class QuietHandler(WSGIRequestHandler):
    """Keeps connections open and writes no log."""

    protocol_version = "HTTP/1.1"

    def log(self, *_: object) -> None:
        """Nothing."""


def read_choice(answer: bytes) -> int:
    """The choice in a router's answer: a SeldonMessage, or a list of whole numbers.

    Raises:
        GraphError: it is neither.
        PanicError: it holds no number where one must be.
    """
    try:
        message = json_format.Parse(answer, prediction_pb2.SeldonMessage())
    except (json_format.ParseError, UnicodeDecodeError):
        return _first_of_list(answer)
    return choice_in(message)


def _first_of_list(answer: bytes) -> int:
    try:
        routes = json.loads(answer)
    except ValueError as error:
        raise GraphError(f"the router's answer is no JSON: {error}") from None
    if not isinstance(routes, list) or not all(type(route) is int for route in routes):
        raise GraphError("the router's answer is neither a SeldonMessage nor a list of integers")
    if not routes:
        raise PanicError("the router's answer is empty")
    return int(routes[0])


def _find_route(path: str) -> _Route | None:
    return next((route for route in _ROUTES if route.pattern.fullmatch(path)), None)


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


def _url(node: Node, path: str) -> str:
    return f"http://{node.host}:{node.http_port}{path}"


def _last_url(url: str, error: HTTPError) -> str:
    """Where a chain of redirects ended."""
    if isinstance(error, MaxRetryError) and "redirect" in str(error.reason):
        return urljoin(url, error.url)
    return url


def _reason(error: HTTPError, node: Node) -> str:
    text = str(error.reason if isinstance(error, MaxRetryError) else error)
    if "redirect" in text:
        return "stopped after 10 redirects"
    if "Connection refused" in text:
        return go.connection_refused(node.host, node.http_port)
    return "EOF" if "Connection aborted" in text else text


def _error_body(info: str) -> bytes:
    status = {"code": 500, "info": info, "status": "FAILURE"}
    return json.dumps({"status": status}, separators=(",", ":"), ensure_ascii=False).encode()


def _succeeded(payload: Payload) -> Response:
    body = go.escape_html(payload.body)
    return _response(200, body, {"Content-Type": payload.content_type})


def _failed(status: int, body: bytes) -> Response:
    """Without a type of its own, Go guesses one from what is in the body."""
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
