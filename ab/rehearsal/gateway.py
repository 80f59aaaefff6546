"""What Seldon's executor does with a graph of one router and its children, over REST.

Follows executor/predictor/predictor_process.go and executor/api/util/utils.go of Seldon Core 1.19
with SELDON_ENABLE_ROUTING_INJECTION set.
"""

from __future__ import annotations

import dataclasses
import json
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import requests
from flask import Flask, Response, request
from google.protobuf import json_format
from seldon_core.proto import prediction_pb2
from werkzeug.serving import WSGIRequestHandler, make_server

_TIMEOUT_S = 60
_ALL_CHILDREN = -1
_PUID = "Seldon-Puid"


@dataclasses.dataclass(frozen=True)
class Node:
    """A microservice of the graph.

    Attributes:
        name: of the graph node.
        url: of the microservice, without a path.
    """

    name: str
    url: str


class _Quiet(WSGIRequestHandler):
    """Keeps connections open and writes no access log."""

    protocol_version = "HTTP/1.1"

    def log_request(self, *_: object) -> None:
        """Nothing."""


class Executor:
    """Routes predictions and feedback.

    Args:
        router: asked for the child of each request.
        children: in the order of the graph.
    """

    def __init__(self, router: Node, children: Sequence[Node]) -> None:
        self._router, self._children = router, children
        self._local = threading.local()
        self.app = Flask(__name__)
        self.app.add_url_rule("/api/v1.0/predictions", view_func=self._predict, methods=["POST"])
        self.app.add_url_rule("/api/v1.0/feedback", view_func=self._feedback, methods=["POST"])

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Serve on a free port of this machine; yields the address."""
        server = make_server("127.0.0.1", 0, self.app, threaded=True, request_handler=_Quiet)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def _predict(self) -> Response:
        puid = request.headers.get(_PUID) or str(uuid.uuid4())
        routed = self._call(self._router, "/route", puid)
        if routed.status_code != requests.codes.ok:
            return _passed_on(routed, puid)
        index = first_number(routed.json())
        child = self._children[index]
        answer = self._call(child, "/predict", puid)
        if answer.status_code != requests.codes.ok:
            return _passed_on(answer, puid)
        routing = {self._router.name: index, child.name: _ALL_CHILDREN}
        body = json.dumps(with_routing(answer.json(), routing))
        return Response(body, headers={_PUID: puid}, mimetype="application/json")

    def _feedback(self) -> Response:
        puid = request.headers.get(_PUID) or str(uuid.uuid4())
        index = route_of(request.get_data(), self._router.name)
        chosen = self._children if index == _ALL_CHILDREN else [self._children[index]]
        answers = [self._call(node, "/send-feedback", puid) for node in (*chosen, self._router)]
        failed = [answer for answer in answers if answer.status_code != requests.codes.ok]
        return _passed_on(failed[0] if failed else answers[-1], puid)

    def _call(self, node: Node, path: str, puid: str) -> requests.Response:
        headers = {"Content-Type": request.content_type or "", _PUID: puid}
        return self._session().post(
            node.url + path, data=request.get_data(), headers=headers, timeout=_TIMEOUT_S
        )

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
        return session


def first_number(message: Any) -> int:
    """The router's choice: the first number of a list, or of a SeldonMessage's data.

    Raises:
        ValueError: there is none.
    """
    if isinstance(message, Mapping):
        data = message.get("data", {})
        message = data.get("ndarray", data.get("tensor", {}).get("values"))
    while isinstance(message, list) and message:
        message = message[0]
    if not isinstance(message, (int, float)):
        raise ValueError("the router's answer holds no number")
    return int(message)


def with_routing(message: dict[str, Any], routing: Mapping[str, int]) -> dict[str, Any]:
    """The message with `meta.routing`, which only a message with a `meta` gets."""
    if isinstance(message.get("meta"), dict):
        message["meta"]["routing"] = dict(routing)
    return message


def route_of(body: bytes, router: str) -> int:
    """Child that feedback goes to; -1, all of them, when it does not tell or can't be read."""
    try:
        feedback = json_format.Parse(body, prediction_pb2.Feedback())
    except json_format.ParseError:
        return _ALL_CHILDREN
    return int(feedback.response.meta.routing.get(router, _ALL_CHILDREN))


def _passed_on(answer: requests.Response, puid: str) -> Response:
    """A node's answer with its status."""
    return Response(
        answer.content,
        answer.status_code,
        {_PUID: puid, "Content-Type": answer.headers.get("Content-Type", "application/json")},
    )
