"""Calls of the stand-in executor to nodes over REST."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urljoin

import urllib3
from google.protobuf import json_format
from seldon_core.proto import prediction_pb2
from urllib3.exceptions import HTTPError, MaxRetryError
from werkzeug.datastructures import Headers

from rehearsal import go
from rehearsal.gateway_metrics import ExecutorMetrics
from rehearsal.graph import ALL_CHILDREN, GraphError, Node, PanicError, choice_in

_PATHS = {"predict": "/predict", "feedback": "/send-feedback"}


class Payload(NamedTuple):
    """The body of a request or an answer, and its type."""

    body: bytes | None
    content_type: str


class StatusError(Exception):
    """A call that failed: status and body for the caller."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status)
        self.status, self.body = status, body


class RestNodes:
    """Calls of one request to nodes; see `rehearsal.graph.Calls`.

    Args:
        pool: of connections.
        metrics: of the executor.
        headers: of the caller.
        model: in the path of a V2 request: the node's name if empty; None: Seldon's protocol.
    """

    def __init__(
        self,
        pool: urllib3.PoolManager,
        metrics: ExecutorMetrics,
        headers: Headers,
        model: str | None = None,
    ) -> None:
        self._pool, self._metrics, self._headers, self._model = pool, metrics, headers, model

    def call(self, node: Node, method: str, message: Payload) -> Payload:
        infer = f"/v2/models/{self._model or node.name}/infer"
        return self.request(node, "POST", _PATHS[method] if self._model is None else infer, message)

    def route(self, node: Node, message: Payload) -> int:
        try:
            answer = self.request(node, "POST", "/route", message)
        except StatusError as error:
            if isinstance(error.__cause__, HTTPError):
                raise
            info = (
                f"Internal service call from executor failed calling {_url(node, '/route')} "
                f"status code {error.status}"
            )
            raise StatusError(error.status, error_body(info)) from None
        return read_choice(answer.body or b"")

    def feedback_route(self, node: Node, message: Payload) -> int:
        try:
            feedback = json_format.Parse(message.body or b"", prediction_pb2.Feedback())
        except (json_format.ParseError, UnicodeDecodeError):
            return ALL_CHILDREN
        return int(feedback.response.meta.routing.get(node.name, ALL_CHILDREN))

    def with_routing(self, message: Payload, routing: Mapping[str, int]) -> Payload:
        """Only JSON with a `meta` gets it, but all JSON is rewritten."""
        try:
            value = go.rewrite(message.body or b"")
        except ValueError:
            return message
        if isinstance(value, dict) and isinstance(value.get("meta"), dict):
            value["meta"]["routing"] = dict(routing)
        return Payload(go.dumps(value), message.content_type)

    def request(self, node: Node, method: str, path: str, message: Payload) -> Payload:
        """The answer of a node.

        Raises:
            StatusError: it answers with another status than 200, or not at all.
        """
        headers = Headers(self._headers)
        if message.content_type:
            headers["Content-Type"] = message.content_type
        url, start = _url(node, path), time.monotonic()
        try:
            sent = urllib3.HTTPHeaderDict(headers.to_wsgi_list())
            answer = self._pool.request(method, url, body=message.body, headers=sent)
        except HTTPError as error:
            text = f'{method.capitalize()} "{_last_url(url, error)}": {_reason(error, node)}'
            raise StatusError(500, error_body(text)) from error
        self._metrics.observe(str(answer.status), method.lower(), path, start, node)
        if answer.status != HTTPStatus.OK:
            raise StatusError(answer.status, answer.data)
        return Payload(answer.data, answer.headers.get("Content-Type", ""))


def read_choice(answer: bytes) -> int:
    """The choice in a router's answer: a SeldonMessage, or a list of whole numbers.

    Raises:
        GraphError: it is neither.
        PanicError: it holds no number where one must be.
    """
    try:
        return choice_in(json_format.Parse(answer, prediction_pb2.SeldonMessage()))
    except (json_format.ParseError, UnicodeDecodeError):
        pass
    try:
        routes = json.loads(answer)
    except ValueError as error:
        raise GraphError(f"the router's answer is no JSON: {error}") from None
    if not isinstance(routes, list) or not all(type(route) is int for route in routes):
        raise GraphError("the router's answer is neither a SeldonMessage nor a list of integers")
    if not routes:
        raise PanicError("the router's answer is empty")
    return int(routes[0])


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


def error_body(info: str) -> bytes:
    """What the executor itself answers to a call that failed."""
    return go.dumps({"status": {"code": 500, "info": info, "status": "FAILURE"}})
