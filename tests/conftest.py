"""Fixtures: a toy model, the real microservice on free ports, and no network."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from roberta_sentiment.classifier import Classifier, load_classifier
from roberta_sentiment.model.artifact import DEFAULT_MODEL, Artifact, open_artifact
from roberta_sentiment.settings import Settings
from tests import toy
from tests.service import Service

hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("untimed")

_LONGEST = {"test_lifecycle.py", "test_score.py", "test_default_model.py", "test_server.py"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no worker of pytest-xdist ends alone."""
    items.sort(key=lambda item: item.path.name not in _LONGEST)


@pytest.fixture(scope="session", autouse=True)
def temporary_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A temporary directory of this run's own, as a pod has.

    What another run has prepared there would decide which file a model is served from.
    """
    path = tmp_path_factory.mktemp("tmp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(path))
        patch.setattr(tempfile, "tempdir", None)
        yield path


@pytest.fixture
def own_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary directory without derived files, here and in what a test starts."""
    path = tmp_path / "tmp"
    path.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(path))
    monkeypatch.setenv("TMPDIR", str(path))
    return path


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test reach this machine only."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = address[0]
            assert host in ("localhost", "::1") or host.startswith("127."), f"network: {host}"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def toy_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory whose answers can be worked out by hand; it takes 32 tokens."""
    return toy.write(tmp_path_factory.mktemp("toy") / "toy")


@pytest.fixture(scope="session")
def toy_artifact(toy_path: Path) -> Artifact:
    return open_artifact(toy_path)


@pytest.fixture(scope="session")
def toy_classifier(toy_artifact: Artifact) -> Classifier:
    return load_classifier(toy_artifact, Settings(threads=1, window_overlap=8))


@pytest.fixture(scope="session")
def default_classifier() -> Classifier:
    """The embedded model."""
    return load_classifier(open_artifact(DEFAULT_MODEL), Settings())


@pytest.fixture(scope="session")
def reviews() -> list[str]:
    """Sentences of very different length, in no order."""
    return [
        "Wonderful.",
        "A dull script, wooden acting and an ending that insults the audience.",
        "I laughed, I cried, and I will see it again with everyone I know! " * 12,
        "meh",
        "The first hour is slow; the second more than makes up for it.",
        "Not bad at all.",
        "It's neither funny nor clever, " * 30 + "and it never ends.",
        "🎬👍",
    ]


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    """The default model served by the real microservice, as the image starts it."""
    with Service().start() as running:
        yield running


@pytest.fixture(scope="session")
def lexicon_service() -> Iterator[Service]:
    """The lexicon baseline served by the real microservice, as its image starts it."""
    with Service(
        "baselines.lexicon.Lexicon.Lexicon", PREDICTIVE_UNIT_ID="lexicon"
    ).start() as lexicon:
        yield lexicon
