"""Which graph a GPU gets: the fastest that answers as the model does on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from roberta_sentiment.classifier import Classifier, load_classifier
from roberta_sentiment.errors import DeviceError, StartError
from roberta_sentiment.graph.half import to_half
from roberta_sentiment.model import on_gpu
from roberta_sentiment.model.artifact import open_artifact
from roberta_sentiment.model.on_gpu import open_on_gpu
from roberta_sentiment.settings import Settings
from tests import gpu, zoo

TEXTS = ["good", "a very long and boring film", "bad plot", "great"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return zoo.write(tmp_path / "model")


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU is found, and its kernels are the CPU's."""
    gpu.pretend(monkeypatch)


def load(path: Path, **settings: Any) -> Classifier:
    return load_classifier(open_artifact(path), Settings(threads=1, **settings))


@pytest.mark.usefixtures("on_cpu")
def test_what_the_device_can_t_run_gives_way_to_what_it_can(
    model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The CPU has no kernel for packed attention; the next graph is taken, and logged."""
    caplog.set_level("INFO")
    session, kind = open_on_gpu(
        open_artifact(model), gpu.GPU, is_half=False, memory_limit=0, threads=1
    )
    assert "padded attention" == kind
    assert "packed attention is not used on cuda:0" in caplog.text
    logits = session.run(*padded())
    np.testing.assert_allclose(zoo.LOGITS, logits, atol=1e-4)


def padded() -> Any:
    ids, mask = zoo.padded()
    return ids, mask.sum(axis=1)


@pytest.mark.usefixtures("on_cpu")
def test_a_graph_that_answers_otherwise_is_not_used(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that is wrong on some GPU must not give wrong scores there."""
    monkeypatch.setattr(on_gpu, "largest_difference", lambda *_: 1e-3)
    with pytest.raises(DeviceError, match=r"a logit is 1\.0e-03 off, more than 1e-04.*to cpu"):
        open_on_gpu(open_artifact(model), gpu.GPU, is_half=False, memory_limit=0, threads=1)


@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize("stored", ["fp32", "fp16"])
def test_texts_share_runs_in_half(model: Path, stored: str) -> None:
    """On a CPU each would run alone; a GPU would then be as slow."""
    exact = load(model, device="cpu").classify(TEXTS).logits
    if stored == "fp16":
        graph = model / "roberta-sequence-classification-9.onnx"
        onnx.save(to_half(onnx.load(graph)), graph)
    classifier = load(model, precision="fp16" if stored == "fp32" else "as_stored")
    predictions = classifier.classify(TEXTS)
    assert ("fp16", "cuda:0", 1) == (
        classifier.checked.precision, predictions.work.device, predictions.work.batches
    )  # fmt: skip
    assert 16_384 == classifier.checked.batch_tokens
    np.testing.assert_allclose(exact, predictions.logits, atol=2e-2)
    assert not np.array_equal(exact, predictions.logits)
    classifier.close()


@pytest.mark.usefixtures("on_cpu")
def test_half_that_is_too_far_off_ends_the_start(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some models overflow in 16 bits."""
    monkeypatch.setattr(on_gpu, "HALF_TOLERANCE", 1e-9)
    with pytest.raises(StartError, match="set precision to as_stored, or device to cpu"):
        load(model, precision="fp16")


def test_the_gpu_s_own_runtime_is_asked_without_a_stand_in(model: Path) -> None:
    """Here it is missing, which the sentence says for each graph that was tried."""
    with pytest.raises(DeviceError, match=r"packed attention: .*; the graph as stored: "):
        open_on_gpu(open_artifact(model), gpu.GPU, is_half=False, memory_limit=0, threads=1)
    assert "CUDAExecutionProvider" not in onnxruntime.get_available_providers()
