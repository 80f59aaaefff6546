"""Which files of a directory are served, and what is said of those that can't be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from roberta_sentiment.classifier import load_classifier
from roberta_sentiment.errors import ArtifactError
from roberta_sentiment.model.artifact import open_artifact
from roberta_sentiment.model.layout import choose_graph, has_tokenizer
from roberta_sentiment.settings import Settings
from tests import toy

HUB = "onnx/model.onnx"


def move(directory: Path, **moves: str) -> Path:
    """Move files of a model directory to other moves in it, by the beginning of their names."""
    for start, folder in moves.items():
        for file in directory.glob(f"{start}*"):
            target = directory / folder
            target = target / file.name if folder.endswith("/") else target
            target.parent.mkdir(exist_ok=True)
            file.rename(target)
    return directory


@pytest.mark.parametrize(
    ("moves", "graph"),
    [
        pytest.param({"model": "model.onnx"}, "model.onnx", id="all at the top"),
        pytest.param({"model": HUB}, HUB, id="graph in onnx"),
        pytest.param({"model": "onnx/model_quantized.onnx"}, "onnx/model_quantized.onnx",
                     id="a quantised graph alone"),
        pytest.param({"model": HUB, "tokenizer": "onnx/", "config": "onnx/"}, HUB,
                     id="everything in onnx"),
        pytest.param({"model": "mine.onnx"}, "mine.onnx", id="another name"),
    ],
)  # fmt: skip
def test_the_layouts_of_the_hub_are_served(
    tmp_path: Path, moves: dict[str, str], graph: str
) -> None:
    """Seldon's storage initializer copies a repository unchanged."""
    directory = move(toy.write(tmp_path / "model"), **moves)
    artifact = open_artifact(directory)
    assert directory / graph == artifact.onnx_path
    predictions = load_classifier(artifact, Settings(threads=1)).classify(["so good"])
    assert ["positive"] == predictions.best
    named = open_artifact(directory / graph)
    assert (artifact.onnx_path, artifact.version) == (named.onnx_path, named.version)


@pytest.mark.parametrize(
    ("names", "graph", "candidates"),
    [
        (["model.onnx", "model_quantized.onnx"], "model.onnx", []),
        (["onnx/model_q4.onnx", HUB, "onnx/model_fp16.onnx"], HUB, []),
        (["model.onnx", HUB], "model.onnx", []),
        (["a.onnx", "b.onnx"], None, ["a.onnx", "b.onnx"]),
        (["model.onnx", "b.onnx"], None, ["b.onnx", "model.onnx"]),
        (["onnx/model_fp16.onnx", "onnx/model_q4.onnx"], None,
         ["onnx/model_fp16.onnx", "onnx/model_q4.onnx"]),
        (["sub/model.onnx", "model.safetensors"], None, []),
    ],
)  # fmt: skip
def test_a_graph_is_chosen_only_where_the_hub_s_names_decide(
    names: list[str], graph: str | None, candidates: list[str]
) -> None:
    """Server, fetch and command line all ask this."""
    assert (graph, candidates) == choose_graph(names)


def test_model_uri_chooses_among_several_graphs(tmp_path: Path) -> None:
    """The way out that the refusal names works, also in a read-only mount."""
    directory = toy.write(tmp_path / "model")
    shutil.copy(directory / "model.onnx", directory / "b.onnx")
    with pytest.raises(
        ArtifactError, match=r"several \.onnx files .*name one of them in model_uri"
    ):
        open_artifact(directory)
    assert directory / "b.onnx" == open_artifact(directory / "b.onnx").onnx_path


def test_the_manifest_chooses_among_several_graphs(tmp_path: Path) -> None:
    """The other way out that the refusal names."""
    directory = toy.write(tmp_path / "model")
    (directory / "model.onnx").rename(directory / "b.onnx")
    shutil.copy(directory / "b.onnx", directory / "a.onnx")
    (directory / "manifest.json").write_text(json.dumps({"model": "b.onnx"}), encoding="utf-8")
    artifact = open_artifact(directory)
    assert directory / "b.onnx" == artifact.onnx_path
    assert ["positive"] == load_classifier(artifact, Settings()).classify(["so good"]).best


def test_hidden_files_are_no_graphs(tmp_path: Path) -> None:
    """A copy from another system leaves such files beside each, which are no models."""
    directory = toy.write(tmp_path / "model")
    (directory / "model.onnx").rename(directory / "mine.onnx")
    (directory / "._mine.onnx").write_bytes(b"attributes")
    (directory / "folder.onnx").mkdir()
    assert directory / "mine.onnx" == open_artifact(directory).onnx_path


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["tokenizer.json"], True),
        (["vocab.json", "merges.txt"], True),
        (["vocab.txt", "README.md"], True),
        (["sentencepiece.bpe.model"], True),
        (["spm.model"], True),
        (["spiece.model"], True),
        (["vocab.json", "tokenizer_config.json"], False),
        (["merges.txt"], False),
        ([], False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_tokenizer_is_known_by_its_files(names: list[str], expected: bool) -> None:
    """Of the hub's kinds; a half of one is none."""
    assert expected is has_tokenizer(names)


def empty(directory: Path) -> None:
    for file in directory.iterdir():
        file.unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(empty, "it is empty", id="empty"),
        pytest.param(
            lambda d: (d / "model.onnx").rename(d / "pytorch_model.bin"),
            r"holds a checkpoint \(pytorch_model.bin\).*convert",
            id="checkpoint",
        ),
        pytest.param(
            lambda d: move(d, model="mine/", tokenizer="mine/", config="mine/"),
            "its folder mine does: set model_uri to .*/model/mine",
            id="folder",
        ),
        pytest.param(
            lambda d: move(d, model="mine/onnx.d/"), "it holds config.json, mine, tok", id="other"
        ),
        pytest.param(
            lambda d: move(d, config="onnx/", model="onnx/"),
            "onnx/vocab.json is missing.*/model has one: put both into .*/model$",
            id="tokenizer at the top",
        ),
        pytest.param(
            lambda d: move(d, tokenizer="onnx/", model="onnx/"),
            "/model/vocab.json is missing.*/model/onnx has one: put both into .*/model$",
            id="tokenizer in the folder",
        ),
        pytest.param(
            lambda d: [
                move(d, config="..d/", model="..d/", tokenizer="..d/"),
                (d / "mine").rmdir(),
            ],
            r"hidden entries only \(\.\.d\)",
            id="hidden",
        ),
        pytest.param(
            lambda d: (d / "model.onnx").unlink() or (d / "model.onnx").mkdir(),
            "model.onnx is a folder",
            id="folder of the graph's name",
        ),
        pytest.param(
            lambda d: (d / "model.onnx").unlink() or (d / "model.onnx").symlink_to("gone"),
            "model.onnx is a broken link",
            id="broken link",
        ),
    ],
)
def test_what_can_not_be_served_is_named(tmp_path: Path, damage: object, words: str) -> None:
    """The sentence says what was found, and what to do."""
    directory = toy.write(tmp_path / "model")
    (directory / "mine").mkdir()
    assert callable(damage)
    if damage is empty:
        (directory / "mine").rmdir()
    damage(directory)
    with pytest.raises(ArtifactError, match=words):
        open_artifact(directory, "/mnt/models")


def test_a_file_is_no_model_directory(tmp_path: Path) -> None:
    """A checkpoint given in folder of its directory logs no stack trace."""
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ArtifactError, match="is neither a model directory nor a graph"):
        open_artifact(tmp_path / "model.safetensors")
