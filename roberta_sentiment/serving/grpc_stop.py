"""How a gRPC server stops: calls that run are answered, all others may be tried elsewhere.

`grpc.Server.stop` ends with CANCELLED what it has not begun and what is in transit to it, and no
client tries that again. So the server is never stopped: calls that have not begun are refused with
UNAVAILABLE, each connection is closed when no call runs on it, and the process ends. A client of a
closed connection sees UNAVAILABLE too, and connects elsewhere.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc

from roberta_sentiment.serving.grpc_sockets import port_of, tcp_sockets

logger = logging.getLogger(__name__)

REFUSAL = "this server is stopping; try another one"

_CLOSE_S = 1.0
"""Time for clients to close the connections that this side has closed, s."""


class Calls:
    """The calls that are running in this process."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._stopping = False
        self._ports: dict[object, int] = {}

    def tracked(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """A servicer's method whose calls are known here, and refused after `refuse`."""

        @functools.wraps(method)
        def answer(servicer: Any, request: Any, context: grpc.ServicerContext) -> Any:
            end = self.begin(context.peer())
            if end is None:
                context.abort(grpc.StatusCode.UNAVAILABLE, REFUSAL)
            elif not context.add_callback(end):
                end()
            return method(servicer, request, context)

        return answer

    def begin(self, peer: str) -> Callable[[], None] | None:
        """Note a call of a client until what is returned is called; None if it is refused."""
        call = object()
        with self._changed:
            if self._stopping:
                return None
            self._ports[call] = port_of(peer)
        return functools.partial(self._end, call)

    def _end(self, call: object) -> None:
        with self._changed:
            del self._ports[call]
            self._changed.notify_all()

    def refuse(self) -> None:
        """Begin no further call."""
        with self._changed:
            self._stopping = True

    def ports(self) -> set[int]:
        """Ports, on the clients' side, of the connections on which a call runs."""
        with self._changed:
            return set(self._ports.values())

    def wait_for_fewer(self, ports: set[int], limit_s: float) -> None:
        """Wait until a connection has no call any more."""
        with self._changed:
            self._changed.wait_for(lambda: set(self._ports.values()) < ports, limit_s)


def stop(calls: Calls, grace_s: float) -> None:
    """Answer the calls that run, refuse all others, and close each connection in between.

    Args:
        calls: of this process.
        grace_s: how long calls may still run, s. What then runs is left to the process's end.
    """
    calls.refuse()
    deadline = time.monotonic() + grace_s
    ports = _close_listeners()
    while busy := calls.ports():
        _close_connections(ports, busy)
        left = deadline - time.monotonic()
        if left <= 0:
            logger.error("calls of %d connections still run after %.0f s", len(busy), grace_s)
            return
        calls.wait_for_fewer(busy, left)
    _close_remaining(ports)


def _close_remaining(ports: set[int]) -> None:
    """Close all connections; a client that does not close its side has it cut."""
    deadline = time.monotonic() + _CLOSE_S
    while _close_connections(ports, set()) and time.monotonic() < deadline:
        time.sleep(0.01)
    _close_connections(ports, set(), socket.SHUT_RDWR)


def _close_listeners() -> set[int]:
    """Take no further connection; return the ports."""
    ports = set()
    for opened in tcp_sockets():
        if opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            ports.add(opened.getsockname()[1])
            opened.shutdown(socket.SHUT_RDWR)
    return ports


def _close_connections(ports: set[int], busy: set[int], how: int = socket.SHUT_WR) -> int:
    """Close connections of these ports, but those whose client's port is busy; return their number.

    Only the own direction is closed: an answer in transit arrives, then the client closes.
    """
    closed = 0
    for opened in tcp_sockets():
        with contextlib.suppress(OSError):
            if opened.getsockname()[1] in ports and opened.getpeername()[1] not in busy:
                closed += 1
                opened.shutdown(how)
    return closed
