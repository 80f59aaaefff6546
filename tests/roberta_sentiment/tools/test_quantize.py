"""`quantize`: what it writes can be trusted, and what can't is not written."""

from __future__ import annotations

from pathlib import Path

import pytest

from roberta_sentiment.classifier import load_classifier
from roberta_sentiment.errors import GraphError, QualityError
from roberta_sentiment.model.artifact import open_artifact
from roberta_sentiment.settings import Settings
from roberta_sentiment.tools.labelled import Labelled
from roberta_sentiment.tools.quantize import quantize
from tests import toy, zoo

TEXTS = [
    f"A film about {what} that is {how}." for what in ("a dog", "war") for how in ("x", "good")
]


@pytest.fixture
def data(tmp_path: Path) -> Labelled:
    """Texts with the labels that the float32 model gives them."""
    classifier = load_classifier(open_artifact(zoo.write(tmp_path / "fp32")), Settings())
    best = classifier.classify(TEXTS).best
    return Labelled(TEXTS, [classifier.labels.index(label) for label in best])


def test_the_published_graph_is_quantised(tmp_path: Path, data: Labelled) -> None:
    """From a file without mask, by way of its weights, to a directory that the server opens."""
    report = quantize(open_artifact(tmp_path / "fp32"), tmp_path / "int8", data, TEXTS)
    assert (9, 4, 1.0) == (report.products, report.texts, report.accuracy_fp32)
    assert report.bytes < report.bytes_fp32 / 2
    artifact = open_artifact(tmp_path / "int8")
    assert ("int8", True) == (artifact.precision, artifact.manifest["batch_invariant"])
    assert report.accuracy == artifact.manifest["quantization"]["accuracy"]
    answers = load_classifier(artifact, Settings()).classify(TEXTS)
    assert report.accuracy == sum(
        artifact.labels.index(best) == truth
        for best, truth in zip(answers.best, data.labels, strict=True)
    ) / len(TEXTS)


def test_a_loss_of_accuracy_is_refused(tmp_path: Path, data: Labelled) -> None:
    """Asked to gain a point where none is to be had: nothing is written, nothing left behind."""
    artifact = open_artifact(tmp_path / "fp32")
    with pytest.raises(QualityError, match=r"loses 0\.00 points .* more than -1"):
        quantize(artifact, tmp_path / "int8", data, TEXTS, max_drop=-1)
    assert ["fp32"] == [path.name for path in tmp_path.iterdir()]


def test_a_graph_that_is_no_roberta_is_refused(tmp_path: Path) -> None:
    """It has nothing that could be quantised."""
    artifact = open_artifact(toy.write(tmp_path / "toy"))
    with pytest.raises(GraphError, match="num_hidden_layers"):
        quantize(artifact, tmp_path / "int8", Labelled(["good"], [1]), ["good"])
