"""The HTTP side: size limit, strict JSON, and an answer of one form for every error."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import math
import socket
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from flask import Flask, Request, Response, current_app, g, jsonify, request
from flask.json.provider import DefaultJSONProvider
from seldon_core.flask_utils import SeldonMicroserviceException
from werkzeug.exceptions import (
    BadRequest,
    HTTPException,
    MethodNotAllowed,
    NotFound,
    RequestEntityTooLarge,
    UnsupportedMediaType,
)

from roberta_sentiment import caller
from roberta_sentiment.errors import BodyTooLargeError, InferenceError, PayloadError, shorten
from seldon_node import metrics, payload
from seldon_node.node import NodeError, SentimentNode

logger = logging.getLogger(__name__)

_METHODS: Mapping[str, metrics.Method] = {"Predict": "predict", "SendFeedback": "feedback"}
"""Endpoints that read a message, and what their requests are counted as."""

_PROBED = ("HealthPing", "HealthStatus", "Metadata")
"""Endpoints whose requests, answered or not, are not counted."""


class StrictJSON(DefaultJSONProvider):
    """JSON as the standard has it: no NaN and no Infinity, neither in nor out."""

    sort_keys = False

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """Parse JSON.

        Raises:
            ValueError: it is malformed, or holds a number that is not finite.
        """
        return json.loads(s, parse_constant=_refuse_constant, parse_float=_finite, **kwargs)

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        """Write JSON.

        Raises:
            ValueError: a number is not finite.
        """
        return super().dumps(obj, allow_nan=False, **kwargs)


class ExplainedRequest(Request):
    """A request that says why its body is not JSON, and looks for no form in one that is."""

    @property
    def want_form_data_parsed(self) -> bool:
        """Whether the body may hold a form, for which the wrapper looks first."""
        return not self.is_json and super().want_form_data_parsed

    def on_json_loading_failed(self, e: ValueError | None) -> NoReturn:
        """Refuse the body.

        Raises:
            UnsupportedMediaType: the content type is not JSON's.
            BadRequest: the body is malformed.
        """
        if e is None:
            raise UnsupportedMediaType
        raise BadRequest(f"the body is not valid JSON: {e}") from e


def install(app: Flask, node: SentimentNode) -> None:
    """Give the wrapper's Flask application our limits and error answers."""
    app.json = StrictJSON(app)
    app.request_class = ExplainedRequest
    app.config["MAX_CONTENT_LENGTH"] = node.settings.max_body_bytes
    app.config["MAX_FORM_MEMORY_SIZE"] = node.settings.max_body_bytes
    app.before_request(_name_caller)
    app.before_request(_read_body)
    app.after_request(_add_retry_after)
    app.teardown_request(_forget_caller)

    def refuse(code: int, reason: str, info: str) -> Response:
        if request.endpoint not in _PROBED:
            method = _METHODS.get(request.endpoint or "", "other")
            node.recorder.record(metrics.of_refusal(reason), method)
        return answer(code, reason, info)

    def answer(code: int, reason: str, info: str) -> Response:
        info = shorten(info)
        response = jsonify(
            {"status": {"code": code, "info": info, "reason": reason, "status": "FAILURE"}}
        )
        response.status_code = code
        return response

    def on_http_error(error: HTTPException) -> Response:
        if isinstance(error, (MethodNotAllowed, NotFound)):
            error = _without_static_files(app)
        if isinstance(error, RequestEntityTooLarge):
            too_large = BodyTooLargeError(node.settings.max_body_bytes)
            return refuse(413, too_large.reason, too_large.message)
        response = refuse(error.code or 500, error.name.upper().replace(" ", "_"), _explain(error))
        for name, value in error.get_headers():
            if name in ("Allow", "Retry-After"):
                response.headers[name] = value
        return response

    def on_wrapper_error(error: SeldonMicroserviceException) -> Response:
        is_counted = isinstance(error, NodeError)
        return (answer if is_counted else refuse)(error.status_code, error.reason, error.message)

    def on_unreadable(error: Exception) -> Response:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        return refuse(400, PayloadError.reason, f"the body can't be read: {why}")

    def on_fault(error: Exception) -> Response:
        logger.exception("a request failed for a reason of our own", exc_info=error)
        return refuse(500, InferenceError.reason, "the server failed; its log has the details")

    app.register_error_handler(Exception, on_fault)
    app.register_error_handler(HTTPException, on_http_error)
    app.register_error_handler(SeldonMicroserviceException, on_wrapper_error)
    for unreadable in (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        app.register_error_handler(unreadable, on_unreadable)


def _name_caller() -> None:
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


def _forget_caller(_: BaseException | None) -> None:
    if "serving" in g:
        g.pop("serving").close()


def _read_body() -> None:
    """Parse the message before the wrapper does, which would hide what is wrong with it.

    Flask keeps a JSON body, so the wrapper's own call costs nothing.
    """
    if request.endpoint not in _METHODS:
        return
    in_form = request.form.get("json") or request.args.get("json")
    if in_form:
        body = current_app.json.loads(in_form)
    elif request.mimetype == "multipart/form-data":
        return
    else:
        body = request.get_json()
    if not isinstance(body, dict):
        raise BadRequest(f"the body is {payload.describe(body)}; a SeldonMessage object is needed")


def _without_static_files(app: Flask) -> MethodNotAllowed | NotFound:
    """Which of 404 and 405 fits, apart from the wrapper's folder of static files at every path."""
    routes = app.url_map.bind("")
    methods = set(routes.allowed_methods(request.path))
    endpoint, _ = routes.match(request.path, method="GET")
    if endpoint == "static":
        methods -= {"GET", "HEAD", "OPTIONS"}
    return MethodNotAllowed(sorted(methods)) if methods else NotFound()


def _add_retry_after(response: Response) -> Response:
    if response.status_code == 503 and "Retry-After" not in response.headers:
        waited = g.caller.retry_after if "caller" in g else None
        response.headers["Retry-After"] = str(waited or 1)
    return response


def _explain(error: HTTPException) -> str:
    """What was wrong with the request, and the way out."""
    if error.code == 404:
        return f"there is no {request.path} here; predictions are at /api/v1.0/predictions"
    if error.code == 405:
        allowed = ", ".join(sorted(getattr(error, "valid_methods", None) or []))
        return f"{request.method} is not allowed on {request.path}; use {allowed}"
    if error.code == 415:
        sent = request.content_type or "missing"
        return f"the Content-Type is {sent}; send application/json"
    return error.description or error.name


def _refuse_constant(word: str) -> float:
    raise ValueError(f"{word} is not a JSON number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits[:40]} is too large")
    return value
