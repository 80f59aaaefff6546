"""The gRPC server: no thread for a call that has not arrived.

One loop (grpc.aio) takes whole messages before a thread sees them, where gRPC's threaded server
gives a thread to a call that has sent no message yet.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, NoReturn

import grpc
from google.protobuf import message_factory
from google.protobuf.message import DecodeError, EncodeError
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from seldon_core import flask_utils, wrapper
from seldon_core.proto import prediction_pb2

from roberta_sentiment.errors import shorten
from roberta_sentiment.serving.grpc_sockets import port_of
from roberta_sentiment.serving.patching import patch
from roberta_sentiment.serving.threads import WorkerThreads
from roberta_sentiment.settings import Settings
from seldon_node import host_limits
from seldon_node.grpc_arrival import NO_ROOM, SLOW_S, Arrival, Arrivals
from seldon_node.grpc_health import Health
from seldon_node.node import SentimentNode
from seldon_node.supervisor import BOOT_FAILED

logger = logging.getLogger(__name__)

_LARGE = 2**20
"""Bytes of a message from which on messages are read one after another."""
_SMALL = 2**16
"""Bytes of a message that is refused for lack of room only when twice the room is taken."""
_ABSTRACT = "unix-abstract:"

_OPTIONS = (
    ("grpc.so_reuseport", 1),
    ("grpc.max_concurrent_streams", 256),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.max_connection_idle_ms", 300_000),
)


def repair() -> None:
    """Serve by grpc.aio, unless a tracer wants to see each call, which it can't there."""

    def get_grpc_server(
        user_model: Any,
        seldon_metrics: Any,
        annotations: dict[str, str] | None = None,
        trace_interceptor: Any = None,
        num_threads: int = 1,
    ) -> Any:
        if trace_interceptor or not isinstance(user_model, SentimentNode):
            return original(
                user_model, seldon_metrics, annotations or {}, trace_interceptor, num_threads
            )
        servicer = wrapper.SeldonModelGRPC(user_model, seldon_metrics)
        limit = (annotations or {}).get(flask_utils.ANNOTATION_GRPC_MAX_MSG_SIZE)
        return Server(user_model, servicer, int(num_threads), None if limit is None else int(limit))

    original = patch(wrapper, "get_grpc_server", get_grpc_server)


class _Ended(Exception):  # noqa: N818  it ends a call and is not an error
    """A servicer has ended its call with a code and a sentence."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


class Call:
    """What a servicer, in a thread of its own, sees of a call; the rest is the loop's context."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._over = False
        self._callbacks: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        """End the call."""
        raise _Ended(code, details)

    def is_active(self) -> bool:
        """Whether the client still waits."""
        return not self._over

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Have a function called when the call is over; False if it is already."""
        with self._lock:
            if not self._over:
                self._callbacks.append(callback)
            return not self._over

    def finish(self) -> None:
        """The call is over, for whatever reason."""
        with self._lock:
            self._over, callbacks = True, self._callbacks
        for callback in callbacks:
            callback()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


class Server:
    """A gRPC server in a thread of its own, with the methods of `grpc.Server` that are used here.

    Args:
        node: what is served.
        servicer: the wrapper's, whose methods run in threads.
        threads: calls that are answered at once.
        message_bytes: largest message; None is gRPC's own limit.
    """

    def __init__(
        self, node: SentimentNode, servicer: Any, threads: int, message_bytes: int | None
    ) -> None:
        self._node = node
        self._settings: Settings = node.settings
        self._servicer = servicer
        self._threads = threads
        self._ports: list[str] = []
        self._held = 0
        self._arrivals = Arrivals(self._settings.max_buffered_bytes, self._settings.arrival_timeout)
        self._endings: set[asyncio.Task[None]] = set()
        self._options = [*_OPTIONS, ("grpc.max_allowed_incoming_connections", 4000)]
        if message_bytes is not None:
            for name in ("max_send_message_length", "max_receive_message_length"):
                self._options.append((f"grpc.{name}", message_bytes))

    def add_insecure_port(self, address: str) -> int:
        """Listen on an address as soon as the server starts.

        Returns:
            The port, one that is free where the address asks for port 0; 0 for a Unix socket.

        Raises:
            RuntimeError: it is a private address that is taken.
        """
        if address.startswith(_ABSTRACT):
            try:
                with socket.socket(socket.AF_UNIX) as trial:
                    trial.bind("\0" + address.removeprefix(_ABSTRACT))
            except OSError as error:
                raise RuntimeError(f"{address}: {error.strerror}") from None
            self._ports.append(address)
            return 0
        host, _, port = address.rpartition(":")
        if port == "0":
            with socket.create_server((host, 0)) as trial:
                port = str(trial.getsockname()[1])
        self._ports.append(f"{host}:{port}")
        return int(port)

    def stop(self, grace: float | None) -> threading.Event:
        """End the server; calls that run have their grace, s. The event is set at the end."""
        ended = threading.Event()
        self._run(self._server.stop(grace)).add_done_callback(lambda _: ended.set())
        return ended

    def start(self) -> None:
        """Start all threads and the server.

        Raises:
            RuntimeError: an address can't be used.
            SystemExit: a thread can't be started.
        """
        import uvloop  # which the other processes do not need

        # gRPC wakes its loop several times a call, which uvloop does in half the time.
        self._loop = uvloop.new_event_loop()
        try:
            self._calls = WorkerThreads(self._threads, "grpc", self._loop)
            self._large = WorkerThreads(1, "grpc-large", self._loop)
            self._checks = WorkerThreads(1, "grpc-health", self._loop)
            threading.Thread(target=self._loop.run_forever, name="grpc-loop", daemon=True).start()
        except RuntimeError as error:
            logger.critical("cannot start: %s", host_limits.too_few_threads(error))
            os._exit(BOOT_FAILED)  # the threads that could be started wait for the others
        self._run(self._start()).result()

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    async def _start(self) -> None:
        self._server = grpc.aio.server(options=self._options)
        self._server.add_generic_rpc_handlers((_Handlers(dict(self._handlers())),))
        names = [service.full_name for service in _services()]
        self._health = Health(self._node, self._checks, self._calls, names)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            (*names, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
             reflection.SERVICE_NAME), self._server,
        )  # fmt: skip
        for address in self._ports:
            self._server.add_insecure_port(address)
        await self._server.start()
        self._watch = self._loop.create_task(self._watch_arrivals())

    def _handlers(self) -> Iterator[tuple[str, grpc.RpcMethodHandler[Any, Any]]]:
        """Every method of Seldon's services, by its path."""
        for service in _services():
            for method in service.methods:
                answer = getattr(self._servicer, method.name)
                message = message_factory.GetMessageClass(method.input_type)
                yield (
                    f"/{service.full_name}/{method.name}",
                    grpc.stream_unary_rpc_method_handler(self._answering(answer, message)),
                )

    def _answering(self, answer: Callable[..., Any], message: Any) -> Callable[..., Any]:
        async def handle(_: Any, context: Any) -> bytes:
            content = await self._receive(context)
            threads = self._large if len(content) > _LARGE else self._calls
            call = Call(context)
            context.add_done_callback(lambda _: call.finish())
            self._held += len(content)
            try:
                work = functools.partial(_work, answer, message, content, call)
                return await threads.run(work)
            except _Ended as end:
                await context.abort(end.code, end.details)
                raise  # abort has ended this already
            finally:
                self._held -= len(content)

        return handle

    async def _receive(self, context: Any) -> bytes:
        """The message of a call, if it comes in time and there is room for it."""
        # The read itself is never cancelled: gRPC may still write into its memory.
        arrival = Arrival(port_of(context.peer()), functools.partial(self._end, context))
        self._arrivals.begin(arrival)
        size = 0
        try:
            content = await context.read()
            if not isinstance(content, bytes):  # grpc.aio.EOF
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call has no message")
            size = len(content)
        finally:
            self._arrivals.end(arrival, size)
        limit = self._settings.max_buffered_bytes
        if self._held + size > (2 * limit if size <= _SMALL else limit):
            await context.abort(*NO_ROOM)
        return bytes(content)

    def _end(self, context: Any, code: grpc.StatusCode, details: str) -> None:
        """End a call from outside its handler; its read then ends too."""
        ending = self._loop.create_task(context.abort(code, details))
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)
        ending.add_done_callback(lambda task: task.exception())  # abort always raises

    async def _watch_arrivals(self) -> None:
        while True:
            await asyncio.sleep(SLOW_S)
            self._arrivals.enforce_limits()


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Finds the handler of a path."""

    def __init__(self, handlers: dict[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        self._handlers = handlers

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler of a call; None is UNIMPLEMENTED."""
        return self._handlers.get(handler_call_details.method)


def _work(answer: Callable[..., Any], message: Any, content: bytes, call: Call) -> bytes:
    """Read, answer and write, in a thread."""
    try:
        request = message.FromString(content)
    except (DecodeError, UnicodeDecodeError) as error:
        call.abort(grpc.StatusCode.INVALID_ARGUMENT, shorten(f"the message can't be read: {error}"))
    del content
    response = answer(request, call)
    try:
        return bytes(response.SerializeToString())
    except (EncodeError, ValueError) as error:
        call.abort(grpc.StatusCode.INVALID_ARGUMENT, shorten(f"no answer can be made: {error}"))


def _services() -> list[Any]:
    return list(prediction_pb2.DESCRIPTOR.services_by_name.values())
