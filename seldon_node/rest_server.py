"""The REST server: waitress, with a time limit for a request and a limit for what is buffered.

One loop reads whole requests before a thread sees them, so a client that is slow, silent or does
not read its answer costs a file descriptor and no thread.
"""

from __future__ import annotations

import dataclasses
import socket
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, Task, ThreadedTaskDispatcher, WSGITask

from roberta_sentiment.errors import OWN_FAULT
from roberta_sentiment.serving.threads import LastWaiter
from seldon_node.rest_poller import READ, WRITE, Poller
from seldon_node.rest_request import HEADER_BYTES, SMALL_BODY, Parser, RefusedError

_QUICK_PATHS = {"/", "/health/ping", "/health/status", "/api/v1.0/health/status"}
_QUICK_THREADS = 4
_ACCEPTS_AT_ONCE = 64
_DRAIN_BYTES = 64 * 2**20
_DRAIN_S = 10.0
_STOP_KEEP_S = 2.0
"""Seconds that a stopping server still takes a request on a kept connection."""

_STOP_ARRIVE_S = 5.0
"""Seconds that a request which has begun to arrive, or an answer in transit, gets at the end."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one server process grants its clients.

    Attributes:
        threads: requests that are answered at once.
        keep_s: seconds that an idle connection is kept.
        arrive_s: seconds in which a request must arrive whole, and in which a client must take
            a further piece of its answer.
        body_bytes: largest body.
        buffered_bytes: bodies and unsent answers held at once.
        connections: open connections; one more takes the place of the longest idle one.
    """

    threads: int = 4
    keep_s: float = 100.0
    arrive_s: float = 20.0
    body_bytes: int = 16 * 2**20
    buffered_bytes: int = 64 * 2**20
    connections: int = 1000


def _too_late(arrive_s: float) -> RefusedError:
    info = f"the request did not arrive whole in {arrive_s:g} s (setting arrival_timeout)"
    return RefusedError(408, "REQUEST_TIMEOUT", info)


def _no_room(limit: int) -> RefusedError:
    info = f"bodies of {limit} bytes are held already (setting max_buffered_bytes); try again"
    return RefusedError(503, "OVERLOADED", info)


_STOPS = RefusedError(503, "NOT_READY", "the server stops; try again")


class _Reported:
    """A task whose end the server reports."""

    channel: Channel
    close_on_finish: bool

    def start(self) -> None:
        """Say that the connection ends, where the server stops."""
        super().start()  # type: ignore[misc]
        if self.channel.server.stopping:
            self.set_close_on_finish()  # type: ignore[attr-defined]

    def finish(self) -> None:
        """Count and log the request."""
        super().finish()  # type: ignore[misc]
        self.channel.server.on_finished(self)


class RequestTask(_Reported, WSGITask):  # type: ignore[misc]
    """A request for the application."""


class RefusalTask(_Reported, ErrorTask):  # type: ignore[misc]
    """A request that the server refuses; what else its client sends is dropped."""

    def execute(self) -> None:
        """Write the refusal."""
        error = self.request.error
        if not isinstance(error, RefusedError):
            info = OWN_FAULT
            self.request.error = RefusedError(500, "INFERENCE_FAILED", info)
        self.channel.drains = True
        super().execute()


class Channel(HTTPChannel):  # type: ignore[misc]
    """One connection."""

    task_class = RequestTask
    error_task_class = RefusalTask
    parser_class = Parser
    server: Server
    request: Parser | None
    requests: list[Parser]
    last_activity: float
    connected: bool
    sent_continue: bool
    close_when_flushed: bool
    will_close: bool

    drains = False
    """Whether the client may still be sending what nobody wants."""

    _ahead = b""
    _drained = 0
    _drain_until = 0.0

    def check_client_disconnected(self) -> bool:
        """Whether the client has closed the connection; the application may ask."""
        try:
            return not self.connected or not self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    @property
    def held(self) -> int:
        """Bytes that this connection holds in memory."""
        requests = [*self.requests, self.request] if self.request else self.requests
        bodies = sum(request.held for request in requests)
        return bodies + len(self._ahead) + int(self.total_outbufs_len)

    def received(self, data: bytes) -> bool:
        """Take data from the client, up to the end of one request; the rest waits.

        Else a client that sends many requests and reads no answer would fill the memory with them.
        """
        with self.requests_lock:
            if self.will_close or self.close_when_flushed:
                return False
            data, self._ahead = self._ahead + data, b""
            while data and not self.requests:
                data = data[self._read_on(data) :]
            self._ahead = data
        if self.request is not None and self.request.held > SMALL_BODY:
            self.server.make_room()
        return True

    def _read_on(self, data: bytes) -> int:
        """Give data to the request that is arriving; return how much of it was its own."""
        request = self.request = self.request or Parser(self.adj)
        consumed = request.received(data)
        if request.expect_continue and request.headers_finished and not self.sent_continue:
            self.send_continue()
        if request.completed:
            self.sent_continue = False
            self.request = None
            if not request.empty:
                self.requests.append(request)
                self.server.add_task(self)
        return consumed

    def refuse(self, refusal: RefusedError) -> None:
        """Answer a request that has not arrived whole."""
        with self.requests_lock:
            if self.request is None or self.requests:
                return
            request, self.request = self.request, None
            request.close()
            request.body_rcv = None
            request.error, request.completed = refusal, True
            self.requests.append(request)
            self.server.add_task(self)

    def enforce_limits(self, now: float, idle_since: float) -> None:
        """End what has lasted too long.

        Args:
            now: monotonic time, s.
            idle_since: wall time; a connection without activity since then is closed.
        """
        arrive_s = self.server.limits.arrive_s
        if self.server.stopping:
            arrive_s = min(arrive_s, _STOP_ARRIVE_S)
        stalled = self.total_outbufs_len and self.last_activity < time.time() - arrive_s
        drained = self._drain_until and (self.server.stopping or now > self._drain_until)
        if stalled or drained:
            self.handle_close()
        elif not self.requests and self.request is not None:
            if now > max(self.request.started, self.server.stopping) + arrive_s:
                self.refuse(_STOPS if self.server.stopping else _too_late(arrive_s))
        elif not self.requests and self.last_activity < idle_since:
            self.handle_close()

    # A connection is closed only after the client has read the answer: closing while it still
    # sends would reset the connection, and the client might lose the answer.

    def readable(self) -> bool:
        """Whether the loop should read; begin with what came along with the last request."""
        if self._drain_until:
            return not self.will_close
        if self._ahead and self._has_room:
            self.received(b"")
        return self._has_room

    @property
    def _has_room(self) -> bool:
        """Whether no request is under way and no answer waits to be sent."""
        return not (
            self.requests or self.total_outbufs_len or self.will_close or self.close_when_flushed
        )

    def writable(self) -> bool:
        """Whether the loop should write or close."""
        if self.will_close or self._drain_until:
            return self.will_close
        return bool(self.total_outbufs_len or self.close_when_flushed)

    def service(self) -> None:
        """Answer a request; wake the loop if the connection has then more for it than to read."""
        super().service()
        waits = self.server.map.watched(self._fileno) == READ
        if not waits or self._ahead or self.writable():
            self.server.wake(self)

    def on_events(self, events: int) -> None:
        """Handle what the loop has waited for."""
        if self._fileno is None:  # closed by another connection's event of the same wait
            return
        if not (self.readable() or self.writable()):
            self.watch()
            return
        wasyncore.readwrite(self, events)
        if self.writable() or self.server.map.watched(self._fileno) != READ:
            self.watch()

    def watch(self) -> None:
        """Have the loop wait for what can be done now.

        While a request is answered, the loop goes on waiting for data until some arrives: most
        clients send none before they have the answer.
        """
        for _ in range(2):  # again, where the request has ended in between and woken nobody
            if self._fileno is None:
                return
            events = READ * bool(self.readable()) | WRITE * bool(self.writable())
            self.server.map.watch(self._fileno, events)
            if events or self.requests:
                return

    def handle_write(self) -> None:
        """Send, and begin to drain where the rest of the connection is of no interest."""
        if self.drains and self.close_when_flushed and not self.will_close:
            self._flush_exception(self._flush_some)
            if self.total_outbufs_len or self.will_close:
                return
            self.close_when_flushed = False
            self._drain_until = time.monotonic() + _DRAIN_S
            try:
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:
                self.will_close = True
            return
        super().handle_write()

    def handle_read(self) -> None:
        """Read, or drop what a draining connection brings."""
        try:
            data = self.socket.recv(self.adj.recv_bytes)
        except BlockingIOError:
            return
        except OSError:
            self.handle_close()
            return
        if data and self._drain_until:
            self._drained += len(data)
            self.will_close = self._drained > _DRAIN_BYTES
        elif data:
            self.last_activity = time.time()
            self.received(data)
        elif self.request is not None and not self._drain_until:
            self.refuse(RefusedError(400, "BAD_REQUEST", "the request ended before it was whole"))
        else:
            self.handle_close()


class Server(TcpWSGIServer):  # type: ignore[misc]
    """Reads requests from one listening socket and hands them to threads.

    Health has threads of its own, so that it answers while all others are busy.

    Args:
        application: the WSGI application.
        sock: a bound socket.
        limits: what clients are granted.
        on_finished: called with every task that has ended.
    """

    channel_class = Channel

    def __init__(
        self,
        application: Callable[..., Any],
        sock: socket.socket,
        limits: Limits,
        on_finished: Callable[[Task], None],
    ) -> None:
        self.limits = limits
        self.on_finished = on_finished
        self.stopping = 0.0
        self._quick = _started_threads(_QUICK_THREADS)
        normal = _started_threads(limits.threads)
        sock.setblocking(False)
        info = (sock.family, sock.type, sock.proto, sock.getsockname())
        self.map = Poller()
        self._changed: deque[Channel] = deque()
        super().__init__(
            application, self.map, True, sock, normal, _adjustments(limits), info, bind_socket=False
        )

    def add_task(self, channel: Channel) -> None:
        """Queue a connection that has a request to be answered."""
        request = channel.requests[0]
        quick = request.error or request.path in _QUICK_PATHS
        (self._quick if quick else self.task_dispatcher).add_task(channel)

    def handle_accept(self) -> None:
        """Take the connections that wait; where there are too many, close idle ones."""
        for _ in range(_ACCEPTS_AT_ONCE):
            before = len(self.active_channels)
            super().handle_accept()
            if len(self.active_channels) == before:
                return
            if before >= self.limits.connections:
                self._close_an_idle_one()

    def make_room(self) -> None:
        """While too much is buffered, refuse the connection that holds most of it."""
        channels = list(self.active_channels.values())
        total = sum(channel.held for channel in channels)
        while total > self.limits.buffered_bytes:
            waiting = [c for c in channels if not c.requests and c.held > SMALL_BODY]
            if not waiting:
                return
            largest = max(waiting, key=lambda channel: channel.held)
            total -= largest.held
            channels.remove(largest)
            if largest.request is None:
                largest.handle_close()
            else:
                largest.refuse(_no_room(self.limits.buffered_bytes))

    def maintenance(self, now: float) -> None:
        """End what has lasted too long on every connection."""
        self.make_room()
        idle_since = now - self.limits.keep_s
        if self.stopping and time.monotonic() > self.stopping + _STOP_KEEP_S:
            idle_since = now
        for channel in list(self.active_channels.values()):
            channel.enforce_limits(time.monotonic(), idle_since)

    def serve_once(self) -> None:
        """Wait for something to happen, a second at most, and handle it."""
        self.readable()  # which looks after the connections, when a second has passed
        while self._changed:
            self._changed.popleft().watch()
        for handler, events in self.map.wait(0.1 if self.stopping else 1.0):
            if isinstance(handler, Channel):
                handler.on_events(events)
            else:
                wasyncore.readwrite(handler, events)

    def pull_trigger(self) -> None:
        """Nothing: waitress asks for it after every request, `Channel.service` where it must."""

    def wake(self, channel: Channel) -> None:
        """Have the loop look at a connection; any thread may call it."""
        self._changed.append(channel)
        self.trigger.pull_trigger()

    def stop_accepting(self) -> None:
        """Refuse new connections; those that are open may end their requests."""
        self.stopping = time.monotonic()
        self.adj.cleanup_interval = 0.1
        self.accepting = False
        self.del_channel()
        self.socket.close()

    @property
    def is_busy(self) -> bool:
        """Whether a connection is open."""
        return bool(self.active_channels)

    def _close_an_idle_one(self) -> None:
        """Close the longest idle connection of the client that has most of them."""
        idle = [channel for channel in self.active_channels.values() if not channel.requests]
        if not idle:
            return
        owned = Counter(channel.addr[0] for channel in self.active_channels.values())
        victim = min(idle, key=lambda c: (-owned[c.addr[0]], c.last_activity))
        victim.handle_close()


def _started_threads(count: int) -> ThreadedTaskDispatcher:
    dispatcher = ThreadedTaskDispatcher()
    dispatcher.queue_logger = _Silent()
    dispatcher.queue_cv = LastWaiter(dispatcher.lock)
    dispatcher.set_thread_count(count)
    return dispatcher


class _Silent:
    """Takes waitress's warning for every request that waits for a thread."""

    def warning(self, *_: object) -> None:
        """Drop it: the node has metrics for its queue."""


def _adjustments(limits: Limits) -> Adjustments:
    adjustments = Adjustments(
        threads=limits.threads,
        backlog=2048,
        recv_bytes=SMALL_BODY,
        inbuf_overflow=2**40,  # never to a file
        outbuf_overflow=2**40,
        outbuf_high_watermark=2**40,
        connection_limit=2**30,  # ours closes idle connections instead of accepting none
        cleanup_interval=1,
        log_socket_errors=False,
        max_request_header_size=HEADER_BYTES,
        max_request_body_size=2**62,  # ours counts the content of chunks alone
        ident="",
        clear_untrusted_proxy_headers=False,
    )
    adjustments.body_limit = limits.body_bytes
    return adjustments
