"""Model directories: found, intact, or refused in one sentence."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from roberta_sentiment.artifact import DEFAULT_MODEL, claimed_sha256, locate, open_artifact
from roberta_sentiment.errors import ArtifactError
from tests import toy

Spoil = Callable[[Path], object]


def add_manifest(directory: Path, **more: object) -> Path:
    """Describe every file of a directory in its manifest."""
    files = {
        file.name: {
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "size": file.stat().st_size,
        }
        for file in directory.iterdir()
    }
    manifest = {"format": 1, "files": files, **more}
    (directory / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return directory


def edit(name: str, **values: object) -> Spoil:
    """Change keys of a JSON file."""

    def spoil(directory: Path) -> None:
        path = directory / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return spoil


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A toy model with a manifest, to be spoilt."""
    return add_manifest(toy.write(tmp_path / "model"), name="toy", precision="fp32")


def test_a_good_directory_opens(directory: Path) -> None:
    """What the rest of the program reads off a directory is right."""
    artifact = open_artifact(directory)
    assert artifact.name == "toy"
    assert artifact.precision == "fp32"
    assert artifact.labels == ("negative", "positive")
    assert artifact.position_limit == 32
    assert artifact.pad_id == 1
    assert artifact.sha256 == hashlib.sha256((directory / "model.onnx").read_bytes()).hexdigest()
    assert artifact.version == artifact.sha256[:12]


def test_a_directory_without_manifest_opens(tmp_path: Path) -> None:
    """What optimum-cli writes has none and must work unchanged."""
    assert open_artifact(toy.write(tmp_path / "mine")).name == "mine"


def truncate(directory: Path) -> None:
    path = directory / "model.onnx"
    path.write_bytes(path.read_bytes()[:-10])


def flip_a_bit(directory: Path) -> None:
    path = directory / "model.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "file", "words"),
    [
        pytest.param(truncate, "model.onnx", "truncated", id="truncated"),
        pytest.param(flip_a_bit, "model.onnx", "damaged", id="one bit flipped"),
        pytest.param(lambda d: (d / "model.onnx").unlink(), "model.onnx", "missing", id="no graph"),
        pytest.param(
            lambda d: (d / "tokenizer.json").unlink(), "tokenizer.json", "missing", id="tokenizer"
        ),
        pytest.param(
            lambda d: (d / "manifest.json").write_text("{"), "manifest.json", "JSON", id="bad JSON"
        ),
        pytest.param(
            lambda d: (d / "manifest.json").write_text("[]"), "manifest.json", "object", id="list"
        ),
        pytest.param(
            edit("manifest.json", files={"../x": {"sha256": "", "size": 1}}),
            "manifest.json", "plain file name", id="path outside",
        ),
        pytest.param(
            edit("manifest.json", files={"model.onnx": {}}), "manifest.json", "needs sha256",
            id="entry without checksum",
        ),
        pytest.param(
            edit("manifest.json", model="other.onnx"), "other.onnx", "missing", id="other graph"
        ),
    ],
)  # fmt: skip
def test_a_spoilt_directory_is_refused(
    directory: Path, spoil: Spoil, file: str, words: str
) -> None:
    """A damaged model must not serve, and the sentence must name the file and what is wrong."""
    spoil(directory)
    with pytest.raises(ArtifactError) as caught:
        open_artifact(directory)
    assert file in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(lambda d: (d / "model.onnx").unlink(), "no .onnx file", id="no graph"),
        pytest.param(
            lambda d: (d / "b.onnx").write_bytes(b""), "several .onnx files", id="two graphs"
        ),
        pytest.param(lambda d: (d / "config.json").unlink(), "config.json is missing", id="config"),
        pytest.param(
            lambda d: (d / "tokenizer.json").unlink(), "vocab.json is missing", id="tokenizer"
        ),
    ],
)
def test_an_incomplete_directory_is_refused(tmp_path: Path, spoil: Spoil, words: str) -> None:
    """Without a manifest, too, the first thing that is missing is named."""
    directory = toy.write(tmp_path / "model")
    spoil(directory)
    with pytest.raises(ArtifactError, match=words.replace(".", r"\.")):
        open_artifact(directory)


@pytest.mark.parametrize(
    ("id2label", "words"),
    [
        pytest.param({"0": "bad", "2": "good"}, "number its labels", id="gap"),
        pytest.param({"a": "bad"}, "number its labels", id="word"),
        pytest.param(["bad", "good"], "not an object", id="list"),
        pytest.param({"0": "x", "1": "x"}, "equal", id="twice"),
    ],
)
def test_labels_must_number_the_classes(tmp_path: Path, id2label: object, words: str) -> None:
    """A gap or a duplicate would put a wrong name on a score."""
    directory = toy.write(tmp_path / "model")
    edit("config.json", id2label=id2label)(directory)
    with pytest.raises(ArtifactError, match=words):
        _ = open_artifact(directory).labels


def test_the_place_of_the_model(tmp_path: Path) -> None:
    """First match wins: the setting, the mounted directory, the embedded default."""
    mounted = tmp_path / "mnt"
    assert locate("/a/b", mounted) == (Path("/a/b"), "model_uri")
    assert locate("file:///a/b%20c", mounted) == (Path("/a/b c"), "model_uri")
    assert locate("", mounted) == (DEFAULT_MODEL, "embedded default")
    mounted.mkdir()
    assert locate("", mounted) == (DEFAULT_MODEL, "embedded default")
    (mounted / "model.onnx").touch()
    assert locate("", mounted) == (mounted, str(mounted))


def test_a_remote_address_points_to_the_way_out() -> None:
    """The server has no network; the graph's modelUri is where such an address belongs."""
    with pytest.raises(ArtifactError, match="put the address into modelUri"):
        locate("s3://bucket/model")


def test_a_change_after_the_check_is_noticed(directory: Path) -> None:
    """A worker that starts hours later must not load what was put there since."""
    artifact = open_artifact(directory)
    assert artifact.unchanged() is artifact
    flip_a_bit(directory)
    with pytest.raises(ArtifactError, match="damaged"):
        artifact.unchanged()


def test_the_claimed_checksum_is_the_manifest_s(directory: Path, tmp_path: Path) -> None:
    """It is what a check in advance goes by; without a manifest there is none, and no error."""
    assert open_artifact(directory).sha256 == claimed_sha256(directory)
    (directory / "manifest.json").write_text('{"files": []}')
    assert "" == claimed_sha256(directory) == claimed_sha256(tmp_path / "absent")
