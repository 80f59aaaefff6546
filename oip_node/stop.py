"""How the server stops: what runs is answered, and each connection ends between two requests.

MLServer 1.7.1 cancels gRPC calls on their way and resets REST connections (its issue 2292).
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from roberta_sentiment.serving import grpc_stop

GRACE_S = 30.0
"""Longest time for what runs when the server gets SIGTERM, s."""
DRAIN_S = 1.0
"""Time in which REST answers ask their connections to close, s; it ends earlier without any."""
_POLL_S = 0.05

calls = grpc_stop.Calls()
_stopping = threading.Event()


def is_stopping() -> bool:
    """Whether the server has got SIGTERM; it still answers."""
    return _stopping.is_set()


def take_signals() -> None:
    """Leave SIGTERM and SIGINT to MLServer, which uvicorn would take away.

    MLServer overrides a method that uvicorn has not called since its 0.29.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)


def begin() -> bool:
    """Be stopping from now on; whether that is new."""
    was_stopping = _stopping.is_set()
    _stopping.set()
    return not was_stopping


async def drain(rest: Any, grpc_server: Any) -> None:
    """Answer what runs and what still comes over open connections, then close them.

    Args:
        rest: MLServer's uvicorn server.
        grpc_server: its grpc.aio server.
    """
    for headers in (rest.server_state.default_headers, rest.config.encoded_headers):
        headers.append((b"connection", b"close"))  # uvicorn copies the latter every second
    await _until(lambda: not rest.server_state.connections, DRAIN_S)
    rest.should_exit = True
    await _until(lambda: not rest.server_state.connections, GRACE_S)
    await asyncio.to_thread(grpc_stop.stop, calls, GRACE_S)
    await grpc_server.stop(0)


async def _until(condition: Callable[[], bool], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while not condition() and time.monotonic() < deadline:
        await asyncio.sleep(_POLL_S)
