"""The REST side: the wrapper's Flask application with bounded bodies and one form of error."""

from __future__ import annotations

import contextlib
import functools
import logging
import socket
from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask, Response, current_app, g, jsonify, request
from flask_cors import CORS
from seldon_core import wrapper
from seldon_core.flask_utils import SeldonMicroserviceException
from werkzeug.exceptions import HTTPException, NotFound, RequestEntityTooLarge

from roberta_sentiment import caller
from roberta_sentiment.errors import (
    OWN_FAULT,
    BodyTooLargeError,
    InferenceError,
    PayloadError,
    SentimentError,
    shorten,
)
from roberta_sentiment.serving.metrics import Method, refusal_metrics
from roberta_sentiment.serving.patching import patch
from seldon_node import rest_body
from seldon_node.logs import printable
from seldon_node.node import NodeError, SentimentNode
from seldon_node.rest_worker import COUNT_REFUSAL

logger = logging.getLogger(__name__)

_METHODS: Mapping[str, Method] = {"Predict": "predict", "SendFeedback": "feedback"}
"""Endpoints that read a message, and what their requests are counted as."""

_PROBED = ("Root", "HealthPing", "HealthStatus", "Metadata")
"""Endpoints whose requests, answered or not, are not counted."""

_NOT_FOR_A_MODEL = ("TransformInput", "TransformOutput", "Route", "Aggregate")
_MEMORY_FOR_BODIES = 4
"""Memory to parse bodies, as a multiple of max_buffered_bytes."""


def repair() -> None:
    """Give the wrapper's application our error answers and limits, and the node its metrics."""

    def get_rest_microservice(user_model: Any, seldon_metrics: Any) -> Any:
        app = original(user_model, seldon_metrics)
        if isinstance(user_model, SentimentNode):
            install(app, user_model)
        return app

    def get_request(*arguments: Any, **named: Any) -> Any:
        is_ours = rest_body.BUDGET in current_app.extensions  # a router's is left as it is
        return (rest_body.read_message if is_ours else read)(*arguments, **named)

    patch(wrapper, "CORS", lambda app: None)  # which opens every path to every web page
    patch(wrapper, "Flask", _without_static_files)
    read = patch(wrapper, "get_request", get_request)
    original = patch(wrapper, "get_rest_microservice", get_rest_microservice)


def _without_static_files(name: str, **_: Any) -> Flask:
    """The wrapper's application without its empty folder of static files at every path."""
    return Flask(name, static_folder=None)


def install(app: Flask, node: SentimentNode) -> None:
    """Give the wrapper's Flask application our limits, paths and error answers."""
    app.json = rest_body.StrictJSON(app)
    app.url_map.merge_slashes = False
    app.config["MAX_CONTENT_LENGTH"] = node.settings.max_body_bytes
    app.extensions[rest_body.BUDGET] = rest_body.Budget(
        _MEMORY_FOR_BODIES * node.settings.max_buffered_bytes
    )
    app.extensions[COUNT_REFUSAL] = lambda reason, path: node.recorder.record(
        refusal_metrics(reason), _METHODS.get(_endpoint_of(app, path), "other")
    )
    app.before_request(_set_caller)
    app.after_request(_add_retry_after)
    app.teardown_request(_clear_caller)
    app.teardown_request(rest_body.release_memory)
    app.add_url_rule("/", "Root", app.view_functions["HealthStatus"], methods=["GET"])
    for endpoint in _NOT_FOR_A_MODEL:
        app.view_functions[endpoint] = _not_found
    origins = {word.strip() for word in node.settings.cors_origins.split(",")} - {"", "none"}
    if origins:
        CORS(app, origins=sorted(origins))
    _Errors(node).install(app)


class _Errors:
    """Answers every error of a node's application in Seldon's form, and counts it."""

    def __init__(self, node: SentimentNode) -> None:
        self._node = node

    def install(self, app: Flask) -> None:
        """Answer the errors of an application."""
        app.register_error_handler(Exception, self._on_fault)
        app.register_error_handler(HTTPException, self._on_http_error)
        app.register_error_handler(SentimentError, self._on_our_error)
        app.register_error_handler(SeldonMicroserviceException, self._on_wrapper_error)
        app.register_error_handler(UnicodeDecodeError, self._on_unreadable)
        app.register_error_handler(RecursionError, self._on_unreadable)

    def _on_http_error(self, error: HTTPException) -> Response:
        if isinstance(error, RequestEntityTooLarge):
            return self._on_our_error(BodyTooLargeError(self._node.settings.max_body_bytes))
        reason = error.name.upper().replace(" ", "_")
        response = self._refuse(error.code or 500, reason, _explain(error))
        for name, value in error.get_headers():
            if name in ("Allow", "Retry-After"):
                response.headers[name] = value
        return response

    def _on_our_error(self, error: SentimentError) -> Response:
        if "caller" in g:
            g.caller.retry_after = getattr(error, "retry_after", None)
        return self._refuse(error.http_status, error.reason, error.message)

    def _on_wrapper_error(self, error: SeldonMicroserviceException) -> Response:
        is_counted = isinstance(error, NodeError)
        answer = _failure if is_counted else self._refuse
        return answer(error.status_code, error.reason, error.message)

    def _on_unreadable(self, error: Exception) -> Response:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        return self._refuse(400, PayloadError.reason, f"the body can't be read: {why}")

    def _on_fault(self, error: Exception) -> Response:
        logger.exception("a request failed for a reason of our own", exc_info=error)
        return self._refuse(500, InferenceError.reason, OWN_FAULT)

    def _refuse(self, code: int, reason: str, info: str) -> Response:
        if _endpoint() not in _PROBED:
            method = _METHODS.get(_endpoint(), "other")
            self._node.recorder.record(refusal_metrics(reason), method)
        return _failure(code, reason, info)


def _failure(code: int, reason: str, info: str) -> Response:
    """A status in Seldon's form."""
    status = {"code": code, "info": shorten(printable(info)), "reason": reason, "status": "FAILURE"}
    response = jsonify({"status": status})
    response.status_code = code
    return response


def _endpoint() -> str:
    """Of this request; empty where it fits no path."""
    return request.endpoint or ""


def _endpoint_of(app: Flask, path: str) -> str:
    """Of a request that the server refused; empty where it fits no path."""
    try:
        endpoint, _ = app.url_map.bind("").match(path, method="POST")
    except HTTPException:
        return ""
    return str(endpoint)


def _set_caller() -> None:
    """Say who waits for the answer, for as long as this request lasts."""
    g.serving = contextlib.ExitStack()
    waiting = caller.Caller(has_left=_connection(request.environ))
    g.caller = g.serving.enter_context(caller.serving(waiting))


def _connection(environ: Mapping[str, Any]) -> Callable[[], bool] | None:
    """What says whether the client has closed its connection, where the server lets one ask."""
    if "waitress.client_disconnected" in environ:
        return environ["waitress.client_disconnected"]  # type: ignore[no-any-return]
    if "gunicorn.socket" in environ:
        return functools.partial(_is_closed, environ["gunicorn.socket"])
    return None


def _is_closed(connection: socket.socket) -> bool:
    try:
        return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _clear_caller(_: BaseException | None) -> None:
    if "serving" in g:
        g.pop("serving").close()


def _not_found() -> Response:
    raise NotFound


def _add_retry_after(response: Response) -> Response:
    if response.status_code == 503 and "Retry-After" not in response.headers:
        waited = g.caller.retry_after if "caller" in g else None
        response.headers["Retry-After"] = str(waited or 1)
    return response


def _explain(error: HTTPException) -> str:
    """What was wrong with the request, and the way out."""
    if error.code == 404:
        path = printable(request.path, 100)
        return f"there is no {path} here; predictions are at /api/v1.0/predictions"
    if error.code == 405:
        allowed = ", ".join(sorted({*(getattr(error, "valid_methods", None) or [])} - {"OPTIONS"}))
        path = printable(request.path, 100)
        return f"{printable(request.method, 20)} is not allowed on {path}; use {allowed}"
    if error.code == 415 and error.description == type(error).description:
        sent = printable(request.content_type or "missing", 100)
        return f"the Content-Type is {sent}; send application/json"
    return error.description or error.name
