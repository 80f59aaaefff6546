"""A service to attack; each test leaves it as good as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import toy
from tests.hostile.good_client import GoodClient
from tests.served.test_lifecycle import grpc_answers
from tests.service import Service


@pytest.fixture(scope="session")
def hostile_toy_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that takes 512 tokens."""
    return toy.write(tmp_path_factory.mktemp("hostile") / "toy", positions=514)


@pytest.fixture(scope="session")
def target(hostile_toy_path: Path) -> Iterator[Service]:
    """A service with a tiny model, for attacks that must not harm it."""
    with Service(MODEL_URI=str(hostile_toy_path), SENTIMENT_ARRIVAL_TIMEOUT="3").start() as running:
        running.wait_for(lambda: grpc_answers(running), "gRPC")
        yield running


@pytest.fixture
def good(target: Service) -> Iterator[GoodClient]:
    """A good client that asks the target during the whole test."""
    with GoodClient(target) as client:
        yield client
