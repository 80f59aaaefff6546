"""gunicorn's worker for REST, run in a thread of this process on a socket of its own."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from gunicorn.config import Config
from seldon_core import gunicorn_utils

from roberta_sentiment.settings import Settings
from seldon_node import rest_worker
from seldon_node.rest_worker import COUNT_REFUSAL, RestWorker

LIMIT_S = 60


class Application:
    """A WSGI application that answers "fine", and a held path when it is released."""

    def __init__(self) -> None:
        self.held, self.release = threading.Event(), threading.Event()
        self.refused: list[tuple[str, str]] = []
        self.extensions = {COUNT_REFUSAL: lambda *what: self.refused.append(what)}

    def __call__(self, environ: dict[str, Any], start: Callable[..., object]) -> list[bytes]:
        if environ["PATH_INFO"] == "/held":
            self.held.set()
            self.release.wait(LIMIT_S)
        start("200 OK", [("Content-Type", "text/plain")])
        return [b"fine"]


class Log:
    """gunicorn's log, of which the lines for requests are kept."""

    access_log_enabled = True

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def access(self, response: Any, headers: Any, environ: dict[str, str], duration: Any) -> None:
        self.lines.append((response.status, environ["PATH_INFO"]))

    def info(self, *_: object) -> None:
        """Nothing."""


class Running:
    """A worker that runs.

    Attributes:
        worker: the worker.
        application: what it serves.
        log: what it logs to.
        url: its address.
    """

    def __init__(self, listener: socket.socket, settings: Settings | None, **changes: int) -> None:
        self.application, self.log = Application(), Log()
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = Config()
        for name, value in {"keepalive": 1, **changes}.items():
            config.set(name, value)
        app = SimpleNamespace(user_object=SimpleNamespace(settings=settings) if settings else None)
        sockets = [SimpleNamespace(sock=listener)]
        self.worker = RestWorker(1, os.getppid(), sockets, app, LIMIT_S, config, self.log)
        self.worker.wsgi = self.application
        self.worker.PIPE = os.pipe()
        self.thread = threading.Thread(target=self.worker.run)
        self.thread.start()

    def stop(self) -> None:
        """What gunicorn's handler of SIGTERM does."""
        self.worker.alive = False
        os.write(self.worker.PIPE[1], b".")

    def wait_for_end(self) -> None:
        self.thread.join(LIMIT_S)
        assert not self.thread.is_alive()


@contextlib.contextmanager
def running(settings: Settings | None = None, **changes: int) -> Iterator[Running]:
    """A worker with settings of a node, or one of the metrics server, until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        started = Running(listener, settings, **changes)
        try:
            yield started
        finally:
            started.application.release.set()
            started.stop()
            started.wait_for_end()
            for end in started.worker.PIPE:
                os.close(end)


def test_a_request_that_runs_is_answered_before_the_end() -> None:
    """SIGTERM ends the worker, and no request."""
    answers: list[int] = []
    with running(Settings()) as server:
        held = threading.Thread(
            target=lambda: answers.append(
                requests.get(f"{server.url}/held", timeout=60).status_code
            )
        )
        held.start()
        assert server.application.held.wait(LIMIT_S)
        server.stop()
        server.application.release.set()
        held.join(LIMIT_S)
        server.wait_for_end()
    assert [200] == answers


def test_a_worker_ends_after_its_last_request() -> None:
    """As many as GUNICORN_MAX_REQUESTS says, each of which is logged."""
    with running(Settings(), max_requests=2) as server:
        for path in ("/a", "/b"):
            assert "fine" == requests.get(server.url + path, timeout=60).text
        server.wait_for_end()
    assert [("200 OK", "/a"), ("200 OK", "/b")] == server.log.lines


def test_a_refusal_is_counted() -> None:
    """The application never sees it."""
    with running(Settings(max_body_bytes=1024)) as server:
        answer = requests.post(f"{server.url}/predict", data="a" * 1025, timeout=60)
        assert 413 == answer.status_code
    assert [("BODY_TOO_LARGE", "/predict")] == server.application.refused


def test_connections_leave_descriptors_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of open files that is lower than max_connections decides."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    with running(Settings(max_connections=1000), threads=3) as server:
        limits = server.worker._limits()
    assert (3, 156) == (limits.threads, limits.connections)


def test_the_metrics_server_has_limits_of_its_own() -> None:
    """It has no settings, and a scraper needs few threads."""
    with running(threads=50) as server:
        assert (4, 100) == (server.worker._limits().threads, server.worker._limits().connections)


def test_gunicorn_takes_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a time limit that a hanging loop meets within a minute."""
    application = gunicorn_utils.StandaloneApplication
    monkeypatch.setattr(application, "load_config", lambda self: self.cfg.set("timeout", 5000))
    rest_worker.repair()
    loaded = application(lambda: None)
    assert RestWorker is loaded.cfg.worker_class
    assert 60 == loaded.cfg.timeout
