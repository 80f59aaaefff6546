"""The order in which a server stops, without one."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("mlserver", reason="make test-oip runs these in an environment with MLServer")

from oip_node import stop
from roberta_sentiment.serving import grpc_stop


def test_it_begins_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """uvicorn raises a signal again when it ends."""
    monkeypatch.setattr(stop, "_stopping", threading.Event())
    assert not stop.is_stopping()
    assert [True, False] == [stop.begin(), stop.begin()]
    assert stop.is_stopping()


def test_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    """REST says that it closes, then takes nothing more, then gRPC's connections are closed."""
    steps: list[str] = []

    class Rest(SimpleNamespace):
        def __setattr__(self, name: str, value: Any) -> None:
            if name == "should_exit":
                steps.append("REST takes nothing more")
                self.server_state.connections.clear()
            super().__setattr__(name, value)

    class Grpc:
        async def stop(self, grace: float) -> None:
            steps.append(f"gRPC ends with a grace of {grace} s")

    state = SimpleNamespace(default_headers=[], connections={"one"})
    rest = Rest(server_state=state, config=SimpleNamespace(encoded_headers=[]))
    monkeypatch.setattr(stop, "DRAIN_S", 0)
    monkeypatch.setattr(grpc_stop, "stop", lambda calls, grace_s: steps.append("gRPC drains"))
    asyncio.run(stop.drain(rest, Grpc()))
    assert [
        "REST takes nothing more", "gRPC drains", "gRPC ends with a grace of 0 s",
    ] == steps  # fmt: skip
    assert [(b"connection", b"close")] == state.default_headers
