"""The REST server alone: what it buffers, when it lets go, and how it ends."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from seldon_node.rest_server import Limits, Server
from tests.hostile.attacks import posting
from tests.hostile.test_connections import read_all

MIB = 2**20


def echo(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Answer with the body."""
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


class Running:
    """A server in a thread.

    Args:
        limits: of the server.
        application: what it serves.
    """

    def __init__(self, limits: Limits, application: Callable[..., Any] = echo) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = self._socket.getsockname()
        self.notes: list[Any] = []
        self.server = Server(application, self._socket, limits, self.notes.append)
        self._over = False
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        while not self._over:
            self.server.serve_once()

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=20)

    def end(self) -> None:
        self._over = True
        self.server.trigger.pull_trigger()
        self._thread.join()


@contextlib.contextmanager
def running(limits: Limits, application: Callable[..., Any] = echo) -> Iterator[Running]:
    server = Running(limits, application)
    try:
        yield server
    finally:
        server.end()


def test_the_largest_body_makes_room() -> None:
    """The client that holds most of the buffer gets the 503, not the last one."""
    with running(Limits(buffered_bytes=4 * MIB)) as server, contextlib.ExitStack() as stack:
        large = stack.enter_context(server.connect())
        large.sendall(posting(b"a" * 3 * MIB, length=8 * MIB))
        small = stack.enter_context(server.connect())
        small.sendall(posting(b"b" * 2 * MIB, Connection="close"))
        assert read_all(small).startswith(b"HTTP/1.1 200 ")
        answer = read_all(large)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 1" in answer
        assert b"setting max_buffered_bytes" in answer


def test_an_idle_connection_makes_room() -> None:
    """Of the client with most connections the longest idle one is closed."""
    with running(Limits(connections=3)) as server, contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(server.connect()) for _ in range(3)]
        last = stack.enter_context(server.connect())
        last.sendall(posting(b"a", Connection="close"))
        assert read_all(last).startswith(b"HTTP/1.1 200 ")
        assert b"" == waiting[0].recv(1)


def test_an_idle_connection_ends() -> None:
    """After the time for which connections are kept."""
    with running(Limits(keep_s=1)) as server, server.connect() as connection:
        assert b"" == connection.recv(1)


def test_an_answer_nobody_reads_is_dropped() -> None:
    """Its memory is given back after a while."""
    body = b"a" * 15 * MIB
    with running(Limits(arrive_s=1)) as server, server.connect() as connection:
        connection.sendall(posting(body))
        deadline = time.monotonic() + 20
        while not server.notes and time.monotonic() < deadline:
            time.sleep(0.01)
        while server.server.active_channels and time.monotonic() < deadline:
            time.sleep(0.01)
        assert {} == server.server.active_channels
        with contextlib.suppress(ConnectionResetError):
            assert len(read_all(connection)) < len(body)


def test_requests_sent_ahead_are_not_buffered() -> None:
    """One request of a connection is read at a time, whatever came with it."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        begun.set()
        go_on.wait(20)
        return echo(environ, start_response)

    with running(Limits(), slow) as server, server.connect() as connection:
        connection.sendall(posting(b"a") * 50)
        assert begun.wait(20)
        (channel,) = server.server.active_channels.values()
        assert 1 == len(channel.requests)
        go_on.set()
        received = b""
        while received.count(b"HTTP/1.1 200 OK") < 50:
            received += connection.recv(65536)


def test_health_is_not_behind_the_requests() -> None:
    """It answers while every thread is busy."""
    go_on = threading.Event()

    def slow(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        if environ["PATH_INFO"] == "/predict":
            go_on.wait(20)
        return echo(environ, start_response)

    with running(Limits(threads=1), slow) as server, contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(server.connect()).sendall(posting(b"a"))
        health = stack.enter_context(server.connect())
        health.sendall(posting(b"b", path="/health/status", Connection="close"))
        assert read_all(health).startswith(b"HTTP/1.1 200 ")
        go_on.set()


@pytest.mark.parametrize("length", [17 * MIB, 40 * MIB])
def test_the_answer_reaches_a_client_that_still_sends(length: int) -> None:
    """Closing at once would reset the connection, and the client might lose its 413."""
    for _ in range(5):
        with running(Limits()) as server, server.connect() as connection:
            connection.sendall(posting(b"a" * length))
            assert read_all(connection).startswith(b"HTTP/1.1 413 ")


def test_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """A running request is answered, a kept connection learns of it, and nothing stays open."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        begun.set()
        go_on.wait(20)
        return echo(environ, start_response)

    with running(Limits(), slow) as server, contextlib.ExitStack() as stack:
        asking = stack.enter_context(server.connect())
        idle = stack.enter_context(server.connect())
        asking.sendall(posting(b"a"))
        assert begun.wait(20)
        server.server.trigger.pull_trigger(server.server.stop_accepting)
        assert b"" == idle.recv(1)
        go_on.set()
        assert read_all(asking).startswith(b"HTTP/1.1 200 ")
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        deadline = time.monotonic() + 20
        while server.server.is_busy and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not server.server.is_busy
