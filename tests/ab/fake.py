"""A Seldon endpoint that loses, repeats, delays or refuses, text by text."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections import Counter, defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Message = dict[str, Any]

LABELS = ["negative", "positive"]
MODELS = ("a", "b")
LIMIT_S = 30


@dataclasses.dataclass(frozen=True)
class Script:
    """What happens at each try of one text; after the last step all is well.

    Steps of a prediction: `ok`, `lost` (executed, then the connection breaks), `late` (answered
    only after the caller has asked again), `stale` (the answer of another request), `twice` (the
    answer is sent two times), `busy` (503 with Retry-After, not executed), `error` (500, executed),
    `reject` (400), `unrouted` (without meta.routing), `stray` (of a child that nobody declared),
    `other` (drawn again: the other model answers, rightly), `held` (as for a feedback).
    Steps of a feedback: `ok`, `lost`, `busy`, `error`, `reject`, `held` (executed, and not answered
    before `release` is set).
    """

    predict: tuple[str, ...] = ()
    feedback: tuple[str, ...] = ()


class FakeEndpoint:
    """Serves two models, drawn by the number of the review, on a free port.

    Args:
        scripts: by text.
    """

    def __init__(self, scripts: dict[str, Script] | None = None) -> None:
        self.scripts = defaultdict(Script, scripts or {})
        self.predictions: Counter[str] = Counter()
        self.feedbacks: Counter[str] = Counter()
        self.received: list[Message] = []
        self.puids: list[str] = []
        self.held, self.release = threading.Event(), threading.Event()
        self.release_late: dict[str, threading.Event] = defaultdict(threading.Event)
        self._tries: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(
            ("127.0.0.1", 0), type("Handler", (_Handler,), {"endpoint": self})
        )
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def step(self, kind: str, text: str) -> str:
        """The next step of a text's script."""
        with self._lock:
            number = self._tries[kind, text]
            self._tries[kind, text] += 1
        steps = getattr(self.scripts[text], kind)
        if number > 0:
            self.release_late[text].set()
        return steps[number] if number < len(steps) else "ok"

    def executed(self, kind: Counter[str], text: str) -> None:
        """The models have seen this text."""
        with self._lock:
            kind[text] += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.release.set()
        for event in self.release_late.values():
            event.set()
        self._server.shutdown()
        self._server.server_close()


def answer_to(message: Message, step: str) -> Message:
    """Text `review 7` is answered by model b (7 is odd), and rightly: positive."""
    text = message["data"]["ndarray"][0]
    number = int(text.rpartition(" ")[2])
    child = {"stray": 7, "other": 1 - number % 2}.get(step, number % 2)
    scores = [0.1, 0.9] if number % 2 else [0.9, 0.1]
    meta: Message = {"puid": message["meta"]["puid"], "routing": {"ab": child}, "tags": {}}
    if step == "unrouted":
        del meta["routing"]
        meta["requestPath"] = {MODELS[number % 2]: "image:1"}
    if step == "stale":
        meta["puid"] = "another-request"
    return {"data": {"names": LABELS, "ndarray": [scores]}, "meta": meta}


class _Handler(BaseHTTPRequestHandler):
    endpoint: FakeEndpoint
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/feedback"):
            self.feedback(body)
        else:
            self.predict(body)

    def predict(self, body: Message) -> None:
        text = body["data"]["ndarray"][0]
        step = self.endpoint.step("predict", text)
        if self.fails(step):
            return None
        self.endpoint.executed(self.endpoint.predictions, text)
        if step == "error":
            return self.reply(500, {"status": {"info": "node is gone"}})
        if step == "lost":
            return self.cut()
        if step == "late":
            self.endpoint.release_late[text].wait(LIMIT_S)
        if step == "held":
            self.hold()
        answer = answer_to(body, step)
        self.reply(200, answer)
        if step == "twice":
            self.reply(200, answer)
        return None

    def feedback(self, body: Message) -> None:
        text = body["request"]["data"]["ndarray"][0]
        step = self.endpoint.step("feedback", text)
        if self.fails(step):
            return None
        self.endpoint.executed(self.endpoint.feedbacks, text)
        self.endpoint.received.append(body)
        self.endpoint.puids.append(self.headers["Seldon-Puid"])
        if step == "error":
            return self.reply(500, {"status": {"info": "node is gone"}})
        if step == "lost":
            return self.cut()
        if step == "held":
            self.hold()
        return self.reply(200, body)

    def hold(self) -> None:
        self.endpoint.held.set()
        self.endpoint.release.wait(LIMIT_S)

    def fails(self, step: str) -> bool:
        if step == "busy":
            self.reply(503, {"status": {"reason": "OVERLOADED"}}, {"Retry-After": "0"})
        if step == "reject":
            self.reply(400, {"status": {"reason": "BAD_TEXT", "info": "not this text"}})
        return step in ("busy", "reject")

    def reply(self, status: int, message: Message, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(message).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            self.close_connection = True

    def cut(self) -> None:
        self.close_connection = True
        self.connection.close()
