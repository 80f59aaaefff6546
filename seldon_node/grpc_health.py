"""grpc.health.v1.Health, from the same state as /health/status."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from seldon_core.flask_utils import SeldonMicroserviceException

from roberta_sentiment.serving.threads import WorkerThreads
from seldon_node.health import LIVES
from seldon_node.node import SentimentNode

_WATCH_S = 1.0
_TURN_S = 1.0
_LONGEST_TURN_S = 30.0
"""Seconds that a new call waits for a thread before the threads count as stuck."""


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """grpc.health.v1.Health, which says what /health/status says.

    Args:
        node: whose health it is.
        checks: threads in which the node is asked.
        calls: the threads of the calls; health is red when they take no call for long.
        services: names that may be asked for.
    """

    def __init__(
        self,
        node: SentimentNode,
        checks: WorkerThreads,
        calls: WorkerThreads,
        services: Iterable[str],
    ) -> None:
        self._node = node
        self._checks = checks
        self._calls = calls
        self._loop = asyncio.get_running_loop()
        self._known = {"", LIVES, *services}
        self._last_turn = self._loop.time()
        self._probing = self._loop.create_task(self._probe_calls())

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Whether a service is served now."""
        if request.service not in self._known:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service here")
        return await self._answer(request.service)

    async def Watch(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Whether a service is served, again whenever that changes."""
        last = None
        while True:
            status = (
                await self._answer(request.service)
                if request.service in self._known
                else health_pb2.HealthCheckResponse(
                    status=health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
                )
            )
            if status != last:
                yield status
            last = status
            await asyncio.sleep(_WATCH_S)

    async def _answer(self, service: str) -> Any:
        """Whether a known service is served."""
        status = health_pb2.HealthCheckResponse
        is_served = self._loop.time() - self._last_turn < _LONGEST_TURN_S
        if is_served and service != LIVES:
            is_served = await self._checks.run(functools.partial(_is_ready, self._node))
        return status(status=status.SERVING if is_served else status.NOT_SERVING)

    async def _probe_calls(self) -> None:
        """Queue for a thread as a call does, again and again."""
        while True:
            await self._calls.run(int)
            self._last_turn = self._loop.time()
            await asyncio.sleep(_TURN_S)


def _is_ready(node: SentimentNode) -> bool:
    try:
        node.health_status()
    except SeldonMicroserviceException:
        return False
    return True
