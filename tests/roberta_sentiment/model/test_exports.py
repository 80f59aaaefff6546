"""One classifier as four exporters wrote it: the Model Zoo's, torch (twice) and Optimum."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from roberta_sentiment.__main__ import app
from roberta_sentiment.classifier import Classifier, load_classifier
from roberta_sentiment.model.artifact import open_artifact
from roberta_sentiment.settings import Settings
from tests import ROOT, toy, zoo

EXPORTS = ROOT / "tests" / "fixtures" / "exports"
GRAPHS = {
    "zoo": zoo.FOLDER / "roberta-tiny-9.onnx",
    **{path.stem: path for path in sorted(EXPORTS.glob("*.onnx"))},
}


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model directory for each graph, all else the same."""
    made = {}
    for name, graph in GRAPHS.items():
        directory = tmp_path_factory.mktemp(name)
        shutil.copyfile(graph, directory / "model.onnx")
        toy.tokenizer().save(str(directory / "tokenizer.json"))
        config = {
            **zoo.CONFIG,
            "vocab_size": len(toy.vocabulary()),
            "id2label": dict(enumerate(toy.LABELS)),
        }
        (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
        made[name] = directory
    return made


def load(directory: Path) -> Classifier:
    return load_classifier(open_artifact(directory), Settings(threads=1))


def test_all_exporters_are_here() -> None:
    """A lost fixture would leave nothing to compare."""
    assert {"zoo", "torch_mask", "torch_plain", "optimum"} == GRAPHS.keys()


@pytest.mark.parametrize("name", [name for name in GRAPHS if name != "zoo"])
def test_every_export_answers_as_the_published_graph(
    directories: dict[str, Path], reviews: list[str], name: str
) -> None:
    """Graphs differ in inputs, mask and operators; the same weights give the same answers."""
    expected, got = (load(directories[n]).classify(reviews) for n in ("zoo", name))
    np.testing.assert_allclose(expected.logits, got.logits, atol=1e-4)
    assert expected.best == got.best


@pytest.mark.parametrize("name", GRAPHS)
def test_a_batch_of_mixed_lengths_answers_as_each_text_alone(
    directories: dict[str, Path], reviews: list[str], name: str
) -> None:
    """With or without a mask in the file, padding is never seen."""
    classifier = load(directories[name])
    together = classifier.classify(reviews).logits
    alone = np.concatenate([classifier.classify([review]).logits for review in reviews])
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_the_command_gives_the_same_labels(directories: dict[str, Path]) -> None:
    """What a user compares first: the same line of the shell, another directory."""
    texts = ["so good", "not a bad film", "it is bad"]
    lines = {
        CliRunner().invoke(app, ["predict", *texts, "--model", str(directory)]).output
        for directory in directories.values()
    }
    assert 1 == len(lines)
    assert all(text in lines.pop() for text in texts[:1])
