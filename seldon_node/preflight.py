"""What the wrapper reads before it reaches our class: a wrong value gets one sentence.

The wrapper itself ends with a stack trace, and often with an exception without a text.
"""

from __future__ import annotations

import dataclasses
import gc
import importlib
import json
import logging
import os
import socket
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from roberta_sentiment.errors import SettingsError
from seldon_node import host_limits

PARAMETERS = "PREDICTIVE_UNIT_PARAMETERS"
ANNOTATIONS = Path("/etc/podinfo/annotations")
PORTS = {
    "REST": "PREDICTIVE_UNIT_HTTP_SERVICE_PORT",
    "gRPC": "PREDICTIVE_UNIT_GRPC_SERVICE_PORT",
    "metrics": "PREDICTIVE_UNIT_METRICS_SERVICE_PORT",
}
"""The variable that sets the port of each server."""

_INT32 = 2**31 - 1
_TRUE = ("y", "yes", "t", "true", "on", "1")
_FALSE = ("n", "no", "f", "false", "off", "0")
_TYPES = {"INT": int, "FLOAT": float, "DOUBLE": float, "STRING": str, "BOOL": bool}
_SHOWN = 60
"""Characters of a wrong value that a sentence shows."""


@dataclasses.dataclass(frozen=True)
class _Range:
    """The whole numbers that a variable or an annotation may be."""

    least: int
    most: int = _INT32

    def check(self, name: str, text: str) -> None:
        try:
            number = int(text)
        except ValueError:
            raise SettingsError(f"{name} is {_show(text)}; a whole number is needed") from None
        if not self.least <= number <= self.most:
            raise SettingsError(f"{name} is {_show(text)}; allowed are {self.least} to {self.most}")


_PORT = _Range(1, 65_535)
_VARIABLES = {
    **dict.fromkeys(PORTS.values(), _PORT),
    "GUNICORN_WORKERS": _Range(1, 512),
    "GUNICORN_THREADS": _Range(1, 10_000),
    "GUNICORN_KEEPALIVE": _Range(0),
    "GUNICORN_MAX_REQUESTS": _Range(0),
    "GUNICORN_MAX_REQUESTS_JITTER": _Range(0),
    "GRPC_WORKERS": _Range(0, 512),
    "GRPC_THREADS": _Range(1, 10_000),
    "FLASK_SINGLE_THREADED": _Range(0),
    "TRACING": _Range(0),
    "WEB_CONCURRENCY": _Range(0),
    "PERSISTENCE": _Range(0),
}
_ANNOTATIONS = {
    "seldon.io/rest-timeout": _Range(0),
    "seldon.io/grpc-max-message-size": _Range(-1),
}


def begin() -> None:
    """Check this process's environment before the wrapper does, and end it where that would fail.

    An unexpected error of the wrapper gets a sentence too.
    """
    # Nearly all that imports make stays: to look for garbage among it takes a tenth of the start.
    gc.set_threshold(1_000_000)
    _forget_service_links()
    _defer_distutils()
    sys.excepthook = _explain
    try:
        check(os.environ)
        host_limits.check_temporary_files()
    except SettingsError as error:
        _end(error.message)


def _defer_distutils() -> None:
    """Give the wrapper the one function that it takes from distutils, which takes 70 ms to import.

    Whoever asks for anything else of that module gets it.
    """
    name = "distutils.util"
    if name in sys.modules:
        return

    def get(attribute: str) -> Any:
        if attribute.startswith("__"):  # the import system looks for some
            raise AttributeError(attribute)
        sys.modules.pop(name, None)
        return getattr(importlib.import_module(name), attribute)

    module: Any = types.ModuleType(name)
    module.strtobool = _to_bool
    module.__getattr__ = get
    sys.modules[name] = module


def check(environ: Mapping[str, str], annotations: Path = ANNOTATIONS) -> None:
    """Check everything that the wrapper reads.

    Args:
        environ: variables of the process.
        annotations: file of the pod's annotations.

    Raises:
        SettingsError: the wrapper would fail.
    """
    for name, allowed in _VARIABLES.items():
        if name in environ:
            allowed.check(name, environ[name])
    if int(environ.get("TRACING", "0")):
        _check_tracing(environ)
    level = environ.get("SELDON_LOG_LEVEL", "INFO")
    if level not in logging.getLevelNamesMapping():
        raise SettingsError(
            f"SELDON_LOG_LEVEL is {_show(level)}; allowed are DEBUG, INFO, WARNING and ERROR"
        )
    for name, value in _read(annotations):
        if name in _ANNOTATIONS:
            _ANNOTATIONS[name].check(f"annotation {name}", value)
    parameters(environ)


def parameters(environ: Mapping[str, str]) -> dict[str, Any]:
    """The graph parameters, each of the type that it says.

    Args:
        environ: variables of the process.

    Raises:
        SettingsError: they are not what the operator writes, or a value is not of its type.
    """
    try:
        listed = json.loads(environ.get(PARAMETERS, "[]"))
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise SettingsError(f"{PARAMETERS} is not valid JSON: {why[:100]}") from None
    if not isinstance(listed, list):
        raise SettingsError(f"{PARAMETERS} is {_show(listed)}; a list of parameters is needed")
    found: dict[str, Any] = {}
    for parameter in listed:
        name, value = _parse(parameter)
        if name in found:
            raise SettingsError(f"parameter {_show(name)} is given twice; keep one of them")
        found[name] = value
    return found


def _parse(parameter: object) -> tuple[str, Any]:
    """Name and value of one parameter, by the wrapper's own rules."""
    if not isinstance(parameter, dict):
        raise SettingsError(
            f"a parameter is {_show(parameter)}; an object with name, type and value is needed"
        )
    for key in ("name", "type", "value"):
        if key not in parameter or (key != "value" and not isinstance(parameter[key], str)):
            raise SettingsError(f"parameter {_show(parameter)} needs a text as {key}")
    name, kind, value = (parameter[key] for key in ("name", "type", "value"))
    if kind not in _TYPES:
        raise SettingsError(
            f"parameter {_show(name)} has the type {_show(kind)}; allowed are {', '.join(_TYPES)}"
        )
    if not isinstance(value, (str, int, float)):
        raise SettingsError(f"parameter {_show(name)} is {_show(value)}; a text is needed")
    try:
        return name, _to_bool(value) if kind == "BOOL" else _TYPES[kind](value)
    except (ValueError, OverflowError):
        raise SettingsError(
            f"parameter {_show(name)} is {_show(value)}, which is not of type {kind}"
        ) from None


def _to_bool(value: object) -> bool:
    word = str(value).lower()
    if word not in _TRUE + _FALSE:
        raise ValueError(word)
    return word in _TRUE


def reserve(server: str, port: int) -> socket.socket:
    """Take a port for one of our servers, or refuse the start.

    The gRPC workers join it by SO_REUSEPORT. So would another service, unless it first meets this
    socket, which was bound without that option.

    Args:
        server: one of `PORTS`.
        port: its number.

    Returns:
        The bound socket; the port is ours while it is open.

    Raises:
        SettingsError: it is taken, or this user may not open it.
    """
    reservation = socket.socket()
    try:
        # With SO_REUSEADDR connections that a former service has left behind do no harm.
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reservation.bind(("", port))
    except OSError as error:
        reservation.close()
        raise SettingsError(
            f"the {server} port {port} can't be opened ({error.strerror}); "
            f"{PORTS[server]} sets another"
        ) from None
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return reservation


def _check_tracing(environ: Mapping[str, str]) -> None:
    if "JAEGER_AGENT_PORT" in environ:
        _PORT.check("JAEGER_AGENT_PORT", environ["JAEGER_AGENT_PORT"])
    path = environ.get("JAEGER_CONFIG_PATH")
    if path is not None and not os.access(path, os.R_OK):
        raise SettingsError(f"JAEGER_CONFIG_PATH is {_show(path)}; there is no file to be read")


def _read(path: Path) -> Iterator[tuple[str, str]]:
    """The annotations, as the wrapper reads them; without the file there are none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        key, found, value = line.rstrip().partition("=")
        if found:
            yield key.strip(), value.strip()[1:-1]


def _forget_service_links() -> None:
    """A Service named `jaeger-agent` sets this variable to an address, where a number is read."""
    if os.environ.get("JAEGER_AGENT_PORT", "").startswith(("tcp://", "udp://")):
        del os.environ["JAEGER_AGENT_PORT"]


def _explain(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, Exception) or os.environ.get("SELDON_LOG_LEVEL") == "DEBUG":
        sys.__excepthook__(kind, error, trace)
    why = getattr(error, "message", None) or str(error)  # the wrapper's errors have no text
    sys.stderr.write(f"cannot start: {kind.__name__}: {why[:200]}\n")


def _end(message: str) -> None:
    """End this process. Python can't raise SystemExit at the time when it calls `begin`."""
    sys.stderr.write(f"cannot start: {message}\n")
    sys.stderr.flush()
    os._exit(1)


def _show(value: object) -> str:
    text = repr(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
