"""Checksums, the manifest, and stamps of files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from roberta_sentiment.errors import ArtifactError, ChecksumError
from roberta_sentiment.model.integrity import (
    digest_of,
    read_manifest,
    sha256_of,
    stamp_of,
    verify,
)

CONTENT = b"weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(CONTENT)
    return tmp_path


def write_manifest(directory: Path, content: object) -> None:
    (directory / "manifest.json").write_text(json.dumps(content))


def test_a_checksum_is_that_of_the_content(directory: Path) -> None:
    """It is the figure that sha256sum shows."""
    assert SHA256 == sha256_of(directory / "model.onnx")


def test_a_file_that_is_not_there_is_named(directory: Path) -> None:
    """The sentence names the file and the reason."""
    with pytest.raises(ArtifactError, match=r"other\.onnx can't be read: No such file"):
        sha256_of(directory / "other.onnx")


def test_a_directory_needs_no_manifest(directory: Path) -> None:
    """Optimum writes none."""
    assert {} == read_manifest(directory)


def test_a_manifest_is_read_as_it_stands(directory: Path) -> None:
    """Facts that this version does not know are kept."""
    content = {"name": "m", "files": {"model.onnx": {"sha256": SHA256, "size": 7}}, "new": 1}
    write_manifest(directory, content)
    assert content == read_manifest(directory)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        pytest.param([], "files is not an object", id="list"),
        pytest.param({"model.onnx": {"size": 7}}, "needs sha256 and size", id="no checksum"),
        pytest.param({"model.onnx": "x"}, "needs sha256 and size", id="text for an entry"),
        pytest.param(
            {"../secret": {"sha256": SHA256, "size": 7}}, "leads out of the directory", id="outside"
        ),
        pytest.param(
            {"other.onnx": {"sha256": SHA256, "size": 7}}, "is missing, but", id="missing"
        ),
    ],
)
def test_a_wrong_manifest_is_refused(directory: Path, files: object, sentence: str) -> None:
    """Each fault has its own sentence, before any file is compared."""
    write_manifest(directory, {"files": files})
    with pytest.raises(ArtifactError, match=sentence):
        read_manifest(directory)


def test_an_intact_file_gives_its_checksum(directory: Path) -> None:
    """Capitals in a manifest are the same checksum."""
    entry = {"size": len(CONTENT), "sha256": SHA256.upper()}
    assert SHA256 == verify(directory, "model.onnx", entry)


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        pytest.param({"size": 8, "sha256": SHA256}, "has 7 bytes, but .* says 8", id="size"),
        pytest.param({"size": 7, "sha256": "0" * 64}, "damaged or another one", id="content"),
    ],
)
def test_a_changed_file_is_refused(
    directory: Path, entry: dict[str, object], sentence: str
) -> None:
    """A file that was cut has another size, one that was exchanged another checksum."""
    with pytest.raises(ChecksumError, match=sentence):
        verify(directory, "model.onnx", entry)


def test_the_digest_of_a_model_does_not_depend_on_its_graph_s_name() -> None:
    """Renaming model.onnx makes no other model; renaming any other file does."""
    digest = digest_of("model.onnx", {"model.onnx": "a", "config.json": "b"})
    assert digest == digest_of("m.onnx", {"config.json": "b", "m.onnx": "a"})
    assert digest != digest_of("model.onnx", {"model.onnx": "a", "c.json": "b"})
    assert digest != digest_of("model.onnx", {"model.onnx": "b", "config.json": "a"})


def test_a_stamp_shows_that_a_file_was_written_again(directory: Path) -> None:
    """Also with the same content and the same size."""
    (directory / "folder").mkdir()
    before = stamp_of(directory)
    assert [str(directory / "model.onnx")] == list(before)
    assert before == stamp_of(directory, directory)
    (directory / "new").write_bytes(CONTENT)
    (directory / "new").replace(directory / "model.onnx")
    assert before != stamp_of(directory)
