"""The manifest that tools write is the one that the server checks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from roberta_sentiment.errors import ChecksumError
from roberta_sentiment.model.artifact import open_artifact
from roberta_sentiment.tools.manifest import write_manifest
from tests import toy


def manifest(directory: Path, **facts: object) -> Path:
    return write_manifest(
        directory,
        name="toy",
        model="model.onnx",
        precision="fp32",
        batch_invariant=True,
        licence="Apache-2.0",
        origin="a test",
        **facts,
    )


def test_it_is_read_back(tmp_path: Path) -> None:
    """Name, precision and facts arrive in the server."""
    manifest(toy.write(tmp_path), accuracy=0.9)
    artifact = open_artifact(tmp_path)
    assert ("toy", "fp32", 0.9) == (
        artifact.name,
        artifact.precision,
        artifact.manifest["accuracy"],
    )


def test_every_file_is_guarded(tmp_path: Path) -> None:
    """A changed tokenizer changes answers as much as a changed graph."""
    manifest(toy.write(tmp_path))
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace("good", "goof"))
    with pytest.raises(ChecksumError, match=r"tokenizer\.json"):
        open_artifact(tmp_path)


def test_notes_are_not_guarded(tmp_path: Path) -> None:
    """A model card may be corrected without building the model again; hidden files are left out."""
    toy.write(tmp_path)
    (tmp_path / "README.md").write_text("card")
    (tmp_path / ".hidden").write_text("")
    content = json.loads(manifest(tmp_path).read_text())
    assert {"config.json", "model.onnx", "tokenizer.json"} == set(content["files"])


def test_a_failure_leaves_the_old_one(tmp_path: Path) -> None:
    """A manifest that was cut in the middle would make an intact model unusable."""
    before = manifest(toy.write(tmp_path)).read_bytes()
    with pytest.raises(TypeError):
        manifest(tmp_path, accuracy=object())
    assert before == (tmp_path / "manifest.json").read_bytes()
