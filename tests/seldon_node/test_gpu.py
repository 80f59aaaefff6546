"""A node on a GPU says so, and is red while its GPU fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from Model import Model
from seldon_node.node import NodeError
from tests import gpu, zoo
from tests.seldon_node.test_node import Counts

GOOD = {"strData": "good"}


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Model]:
    """A loaded node that computes in half."""
    gpu.pretend(monkeypatch)
    monkeypatch.setattr("roberta_sentiment.serving.health._RETRY_S", 0.01)
    model = Model(model_uri=str(zoo.write(tmp_path / "model")), threads=1, precision="fp16")
    model.load()
    yield model
    assert model._classifier
    model._classifier.close()  # type: ignore[attr-defined]


def test_metadata_name_the_device(node: Model) -> None:
    """What is in force, not what was set: device was auto and batch_tokens 0."""
    custom = node.init_metadata()["custom"]
    assert ("cuda:0", "NVIDIA Imaginary", "fp16", "16384") == tuple(
        custom[name] for name in ("device", "device_name", "precision", "batch_tokens")
    )
    assert "fp16" == answered(node)["meta"]["tags"]["precision"]


def test_metrics_name_the_device(node: Model) -> None:
    """From the start, and with each run."""
    counts = Counts()
    node.recorder.connect(counts, (), node.device)
    answered(node)
    assert 1 == counts.values["sentiment_batches cuda:0"]


def answered(node: Model) -> dict[str, Any]:
    answer = node.predict_raw(GOOD)
    assert isinstance(answer, dict)
    return answer


def test_an_error_of_the_device_turns_health_red(node: Model) -> None:
    """No call to a GPU succeeds after an illegal access, so the probes restart the container."""
    session = node._classifier._scheduler._session._bindable  # type: ignore[union-attr]
    session.error = gpu.ILLEGAL_ACCESS
    status = answered(node)["status"]
    assert (500, "INFERENCE_FAILED") == (status["code"], status["reason"])
    with pytest.raises(NodeError, match="not ready: the model failed on a batch"):
        node.health_status()
    session.error = ""
    wait_until_ready(node)


def wait_until_ready(node: Model) -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("Thread") and "_recover" in thread.name:
            thread.join(30)
    assert "ready" == node.health_status()


def test_a_batch_too_large_for_the_memory_fails_alone(node: Model) -> None:
    """Another process may have taken the memory meanwhile; smaller requests are answered."""
    session = node._classifier._scheduler._session._bindable  # type: ignore[union-attr]
    session.most_tokens = 16
    long = "a very long and boring film that never ends, so long and so boring"
    status = node.predict_raw({"strData": long})["status"]
    assert "INFERENCE_FAILED" == status["reason"]
    assert "ready" == node.health_status()
    assert "strData" not in answered(node)
