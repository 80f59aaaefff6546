"""Fixes of what MLServer 1.7.1 gets wrong; `tests/oip_node` shows each defect fixed.

MLServer has no hook for any of it. Its functions are looked up where they are called, so that it
does not matter whether its servers run already.
"""

from __future__ import annotations

import contextvars
import functools
import logging
import re
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import quote

import grpc
import mlserver
import pydantic
from google.protobuf.message import DecodeError
from mlserver import registry
from mlserver.cloudevents import CloudEventsMiddleware
from mlserver.errors import MLServerError
from mlserver.grpc import converters
from mlserver.grpc import utils as grpc_utils
from mlserver.grpc.interceptors import PromServerInterceptor
from mlserver.grpc.servicers import InferenceServicer
from mlserver.handlers import dataplane
from mlserver.repository import repository
from mlserver.rest.server import RESTServer
from mlserver.server import MLServer
from mlserver.types import State
from mlserver.types.base import BaseModel

from oip_node import rest, stop, workers
from oip_node.errors import OneSentence, ServingError
from roberta_sentiment.errors import NotReadyError, PayloadError, StartError
from roberta_sentiment.serving import grpc_stop
from roberta_sentiment.serving.grpc_status import code_of, retry_metadata
from roberta_sentiment.serving.patching import patch
from roberta_sentiment.serving.wording import brief

logger = logging.getLogger(__name__)

VERSION = "1.7.1"
_LOGGERS = ("mlserver", "mlserver.grpc", "mlserver.parallel", "mlserver.rest")

_KEEP_ALIVE_S = 100
"""Longer than clients do, as the Seldon door; uvicorn's 5 s close some as a request comes."""

_call: contextvars.ContextVar[Any] = contextvars.ContextVar("call")
"""Of gRPC, that this task answers, and `stop` knows of."""
_INFER = "/inference.GRPCInferenceService/ModelInfer"
_STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"

_PLAIN = re.compile(r"[!-$&-~]{1,256}")
"""An id that can stand in a header: printable ASCII but for spaces and %."""


def wrap(owner: Any, name: str, replacement: Callable[..., Any]) -> None:
    """Put a function of ours where MLServer looks for its own.

    Args:
        owner: module or class.
        name: of the function.
        replacement: is given the original as its first argument, then the call's.

    Raises:
        StartError: there is no such function.
    """
    original = getattr(owner, name, None)

    @functools.wraps(original)  # type: ignore[arg-type]  # patch refuses None
    def patched(*args: Any, **kwargs: Any) -> Any:
        return replacement(original, *args, **kwargs)

    patch(owner, name, patched)


@functools.cache
def apply() -> None:
    """Patch MLServer, once.

    Raises:
        StartError: this is another MLServer than the one these patches were made for.
    """
    if mlserver.__version__ != VERSION:
        raise StartError(
            f"MLServer {mlserver.__version__} is installed, but this runtime was made for "
            f"{VERSION}; install that"
        )
    wrap(grpc_utils, "_grpc_status_code", _status_code)
    wrap(PromServerInterceptor, "intercept_service", _intercepted)
    wrap(converters.ModelInferRequestConverter, "to_types", _readable)
    # MLServer calls it by a name that warns each time, which takes longer than what it does.
    patch(BaseModel, "construct", classmethod(lambda cls, **given: cls.model_construct(**given)))
    wrap(dataplane, "ModelNotReady", _not_ready)
    for module in (registry, repository):
        wrap(module, "ModelNotFound", _not_found)
    wrap(dataplane.DataPlane, "_infer_contextmanager", _known_model)
    wrap(CloudEventsMiddleware, "_get_headers", _printable_headers)
    wrap(RESTServer, "add_custom_handlers", _guarded)
    wrap(InferenceServicer, "_InsertHeaders", _noted)
    wrap(dataplane.DataPlane, "ready", _ready)
    wrap(dataplane.DataPlane, "model_ready", _model_ready)
    wrap(MLServer, "stop", _stop)
    patch(State, "__str__", lambda state: state.value)  # over gRPC it was "State.READY"
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(OneSentence())
    for name in ("roberta_sentiment", "oip_node"):
        # MLServer sets up no logger but its own.
        logging.getLogger(name).parent = logging.getLogger("mlserver")


def _status_code(original: Any, error: MLServerError) -> grpc.StatusCode:
    """Codes for 413, 503, 504, ... too, which MLServer calls UNKNOWN, and when to try again."""
    retry_after = getattr(error, "retry_after", None)
    if retry_after is None:
        return code_of(error.status_code)
    _call.get().set_trailing_metadata(retry_metadata(retry_after))
    return grpc.StatusCode.RESOURCE_EXHAUSTED


async def _intercepted(original: Any, interceptor: Any, continuation: Any, details: Any) -> Any:
    """A message that is no protobuf is the caller's fault; each message of a stream is a request.

    MLServer answers an empty stream with INTERNAL, and all others as if each message had the model,
    the id and the form of contents of the first.
    """
    is_stream = details.method == _STREAM
    if is_stream:
        details = type(details)(_INFER, details.invocation_metadata)
    handler = await original(interceptor, continuation, details)
    if handler is None or handler.unary_unary is None:
        return handler

    def decode(message: bytes) -> Any:
        try:
            return handler.request_deserializer(message)
        except (DecodeError, ValueError) as error:
            return PayloadError(f"the message can't be read: {error}")

    async def answer(message: Any, context: Any) -> Any:
        if isinstance(message, PayloadError):
            await context.abort(code_of(message.http_status), message.message)
        return await handler.unary_unary(message, context)

    async def answer_each(messages: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        _call.set(context)
        async for message in messages:
            end = stop.calls.begin(context.peer())
            if end is None:
                await context.abort(grpc.StatusCode.UNAVAILABLE, grpc_stop.REFUSAL)
                return
            context.set_trailing_metadata(())  # MLServer can't read what it set itself
            try:
                yield await answer(message, context)
            finally:
                end()

    if is_stream:
        return grpc.stream_stream_rpc_method_handler(
            answer_each, decode, handler.response_serializer
        )
    return handler._replace(request_deserializer=decode, unary_unary=answer)


def _readable(original: Any, message: Any) -> Any:
    """Contents and parameters that can't be read are the caller's fault, not INTERNAL."""
    raw = len(message.raw_input_contents)
    try:
        if raw:
            empty = sum(not tensor.contents.ListFields() for tensor in message.inputs)
            if raw != empty:
                raise PayloadError(
                    f"there are {raw} raw_input_contents for {empty} inputs without contents"
                )
        return original(message)
    except PayloadError as error:
        raise ServingError(error) from None
    except (ValueError, LookupError, TypeError, struct.error) as error:
        text = "contents, shape and datatype of an input do not fit"
        if isinstance(error, pydantic.ValidationError):
            first = error.errors()[0]
            text = f"parameter {'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise ServingError(PayloadError(text)) from None


def _not_ready(original: Any, name: str, version: str | None = None) -> MLServerError:
    """A model that is not ready is 503, not 400."""
    return ServingError(NotReadyError("not ready: the model is loading or its inference fails"))


def _not_found(original: Any, name: str, version: str | None = None) -> MLServerError:
    """Names of any length and kind make a short sentence; gRPC's version '' is none."""
    return original(brief(name), brief(version) if version else None)


def _known_model(original: Any, plane: Any, name: str, version: str | None = None) -> Any:
    """Count requests by model only if there is one, or callers make up series without end."""
    versions = plane._model_registry._get_model_registry(name, version)
    if versions._find_model(version) is None:
        raise registry.ModelNotFound(name, version)
    return original(plane, name, version)


def _printable_headers(
    original: Any, middleware: Any, kind: Any, settings: Any, request_id: str | None
) -> Any:
    """A request's id goes into headers, which hold no line ends and no other alphabets."""
    if request_id and not _PLAIN.fullmatch(request_id):
        request_id = quote(request_id[:256])
    return original(middleware, kind, settings, request_id)


async def _guarded(original: Any, server: Any, model: Any) -> Any:
    """A model of ours brings the guard of REST along; no other hook sees MLServer's server."""
    guard = getattr(model, "guard", None)
    if guard is not None:
        guard(server)
        stop.take_signals()
        server._server.config.timeout_keep_alive = _KEEP_ALIVE_S
        await workers.watch(server._data_plane._model_registry)
    return await original(server, model)


def _noted(original: Any, servicer: Any, message: Any, context: Any) -> Any:
    """The calls that run are known when the server stops, and by what they raise.

    Here is also the first look at a message, before its tensors are read.
    """
    if _call.get(None) is None:
        end = stop.calls.begin(context.peer())
        if end is None:
            raise ServingError(NotReadyError(grpc_stop.REFUSAL))
        context.add_done_callback(lambda _: end())
        _call.set(context)
    rest.refuse_overload(servicer._data_plane, message.model_name, message.model_version or None)
    return original(servicer, message, context)


async def _ready(original: Any, plane: Any) -> bool:
    """A model that fails is not ready, but still tries to answer."""
    models = await plane._model_registry.get_models()
    return await original(plane) and all(map(_is_healthy, models))


async def _model_ready(original: Any, plane: Any, name: str, version: str | None = None) -> bool:
    """The same for one model; over gRPC one that does not exist is not ready, and not UNKNOWN."""
    try:
        model = await plane._model_registry.get_model(name, version)
    except MLServerError:
        if rest.is_rest.get():
            raise  # 404
        return False
    return await original(plane, name, version) and _is_healthy(model)


def _is_healthy(model: Any) -> bool:
    health = getattr(model, "health", None)
    return not stop.is_stopping() and (health is None or health.state != "failing")


async def _stop(original: Any, server: Any, sig: int | None = None) -> None:
    """Lose no request when the server gets SIGTERM; exit with 1 if it could not start."""
    if not stop.begin():
        return  # uvicorn raises the signal again when it ends
    if sig is not None:
        await stop.drain(server._rest_server._server, server._grpc_server._server)
    await original(server, sig)
    if sig is None:
        raise SystemExit(1)
