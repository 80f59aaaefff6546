"""Messages that are still arriving over gRPC, and the memory they may take.

gRPC holds what has arrived of a message and does not say how much that is, so the kernel is asked
how much each connection has received.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping

import grpc

from roberta_sentiment.serving import grpc_sockets

SLOW_S = 0.05
"""Seconds after which a message that has not arrived completely is checked."""

NO_ROOM = (
    grpc.StatusCode.UNAVAILABLE,
    "other large messages are being read (setting max_buffered_bytes); try again",
)

_CHECK_S = 1.0
_PAUSE_TIMES, _LONGEST_PAUSE_S = 5, 0.25
"""Pause after a check, as a multiple of its own time, and at most, s."""


@dataclasses.dataclass(eq=False)
class Arrival:
    """A message that is arriving.

    Attributes:
        port: of its connection, on the client's side.
        abort: ends its call with a code and a sentence.
        started: monotonic time when its call began, s.
    """

    port: int
    abort: Callable[[grpc.StatusCode, str], None]
    started: float = dataclasses.field(default_factory=time.monotonic)


@dataclasses.dataclass
class _Connection:
    """What a connection had received, and what of it came in whole messages since then."""

    received: int = 0
    delivered: int = 0


class Arrivals:
    """The messages that arrive at a process; for one thread.

    Args:
        limit: bytes that all of them may hold.
        longest_s: seconds that a message may take.
        bytes_received: says what connections have received so far, by the client's port.
    """

    def __init__(
        self,
        limit: int,
        longest_s: float,
        bytes_received: Callable[[], Mapping[int, int]] = grpc_sockets.bytes_received,
    ) -> None:
        self._limit = limit
        self._longest_s = longest_s
        self._bytes_received = bytes_received
        self._arriving: set[Arrival] = set()
        self._connections: dict[int, _Connection] = {}
        self._next_check = self._next_full_check = 0.0

    def begin(self, arrival: Arrival) -> None:
        """A call has begun."""
        self._arriving.add(arrival)
        self._connections.setdefault(arrival.port, _Connection())

    def end(self, arrival: Arrival, size: int) -> None:
        """A message has arrived whole, or will not arrive.

        Args:
            arrival: of the call.
            size: bytes of the message.
        """
        self._arriving.discard(arrival)
        connection = self._connections.get(arrival.port)
        if connection is not None:
            connection.delivered += size

    def enforce_limits(self) -> None:
        """End calls whose message takes too long, and others while all hold too much memory.

        To be called often; it does nothing while no message is slow.
        """
        now = time.monotonic()
        self._end_late(now)
        self._end_largest(now)

    def _end_late(self, now: float) -> None:
        late = [a for a in self._arriving if now > a.started + self._longest_s]
        info = f"no message came in {self._longest_s} s (setting arrival_timeout)"
        for arrival in late:
            self._arriving.discard(arrival)
            arrival.abort(grpc.StatusCode.DEADLINE_EXCEEDED, info)

    def _end_largest(self, now: float) -> None:
        """End calls on the connections that hold most, while all hold too much."""
        slow = [arrival for arrival in self._arriving if now > arrival.started + SLOW_S]
        if now < (self._next_check if slow else self._next_full_check):
            return
        held = self._held({arrival.port for arrival in slow})
        took = time.monotonic() - now
        self._next_check = now + min(took * _PAUSE_TIMES, _LONGEST_PAUSE_S)
        self._next_full_check = self._next_check + _CHECK_S
        total = sum(held.values())
        for port in sorted(held, key=held.__getitem__, reverse=True):
            if total <= self._limit:
                return
            total -= held[port]
            for arrival in slow:
                if arrival.port == port:
                    arrival.abort(*NO_ROOM)

    def _held(self, ports: set[int]) -> dict[int, int]:
        """Bytes that slow messages hold, by port; an upper bound, headers included.

        Where no message is slow, what has been received so far is taken as delivered.
        """
        received = self._bytes_received()
        held = {}
        for port in [*self._connections]:
            connection = self._connections[port]
            if port not in received:
                del self._connections[port]
            elif port in ports:
                held[port] = max(0, received[port] - connection.received - connection.delivered)
            else:
                self._connections[port] = _Connection(received[port])
        return held
