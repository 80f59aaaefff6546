"""The gRPC health service, on a loop of its own and a node that is well or not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2
from seldon_core.flask_utils import SeldonMicroserviceException

from roberta_sentiment.serving.threads import WorkerThreads
from seldon_node import grpc_health
from seldon_node.grpc_health import Health
from seldon_node.health import LIVES
from seldon_node.node import SentimentNode

STATUS = health_pb2.HealthCheckResponse
LIMIT_S = 60
SERVICE = "seldon.protos.Model"


class Node:
    """A node whose model fails unless it is well."""

    well = True

    def health_status(self) -> str:
        if not self.well:
            raise SeldonMicroserviceException("the last inference failed", status_code=503)
        return "fine"


class AbortedError(Exception):
    """What `abort` raises."""


class Context:
    """A call's context, of which the code of an abort is kept."""

    code: grpc.StatusCode | None = None

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        self.code = code
        raise AbortedError(details)


def run(node: Node, steps: Callable[[Health, WorkerThreads], Coroutine[Any, Any, None]]) -> None:
    """Run steps with a health service and the only thread of the calls."""

    async def with_health() -> None:
        loop = asyncio.get_running_loop()
        checks, calls = WorkerThreads(1, "checks", loop), WorkerThreads(1, "calls", loop)
        health = Health(cast(SentimentNode, node), checks, calls, [SERVICE])
        await asyncio.wait_for(steps(health, calls), LIMIT_S)

    asyncio.run(with_health())


def asking(service: str) -> Any:
    return SimpleNamespace(service=service)


@pytest.mark.parametrize(
    ("service", "well", "status"),
    [
        ("", True, STATUS.SERVING),
        (SERVICE, True, STATUS.SERVING),
        (SERVICE, False, STATUS.NOT_SERVING),
        ("", False, STATUS.NOT_SERVING),
        (LIVES, False, STATUS.SERVING),
    ],
)
def test_a_service_is_served_while_the_node_is_well(service: str, well: bool, status: int) -> None:
    """Whether a worker answers does not depend on the model."""
    node = Node()
    node.well = well

    async def steps(health: Health, calls: WorkerThreads) -> None:
        assert status == (await health.Check(asking(service), Context())).status

    run(node, steps)


def test_an_unknown_service_is_not_found() -> None:
    """As the protocol says; a watcher learns it as a status."""

    async def steps(health: Health, calls: WorkerThreads) -> None:
        context = Context()
        with pytest.raises(AbortedError):
            await health.Check(asking("other"), context)
        assert grpc.StatusCode.NOT_FOUND == context.code
        watched = await anext(health.Watch(asking("other"), Context()))
        assert STATUS.SERVICE_UNKNOWN == watched.status

    run(Node(), steps)


def test_a_watcher_hears_of_changes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """One message at the start, and one for each change."""
    monkeypatch.setattr(grpc_health, "_WATCH_S", 0)
    node = Node()

    async def steps(health: Health, calls: WorkerThreads) -> None:
        watched = health.Watch(asking(SERVICE), Context())
        assert STATUS.SERVING == (await anext(watched)).status
        following = asyncio.ensure_future(anext(watched))
        done, _ = await asyncio.wait([following], timeout=0.05)
        assert not done
        node.well = False
        assert STATUS.NOT_SERVING == (await following).status

    run(node, steps)


def test_threads_that_take_no_call_make_health_red(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a worker dead, so that it is replaced; a thread that is free again makes it green."""
    monkeypatch.setattr(grpc_health, "_TURN_S", 0)
    monkeypatch.setattr(grpc_health, "_LONGEST_TURN_S", 0.2)

    async def steps(health: Health, calls: WorkerThreads) -> None:
        async def becomes(status: int) -> None:
            while status != (await health.Check(asking(LIVES), Context())).status:
                await asyncio.sleep(0)

        release = threading.Event()
        calls.run(lambda: release.wait(LIMIT_S))
        try:
            await becomes(STATUS.NOT_SERVING)
        finally:
            release.set()
        await becomes(STATUS.SERVING)

    run(Node(), steps)
