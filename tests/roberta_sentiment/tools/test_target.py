"""The directory that a tool writes, and what it must not take away."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from roberta_sentiment.errors import ArtifactError
from roberta_sentiment.tools.target import new_directory, next_command

MADE_BY = "quantization"


def write(target: Path, *sources: Path, replace: bool = False) -> None:
    """What a tool does: a graph and a manifest with its own entry."""
    with new_directory(target, made_by=MADE_BY, sources=sources, replace=replace) as directory:
        (directory / "model.onnx").write_text("new")
        manifest: dict[str, object] = {"files": {"model.onnx": {}}, MADE_BY: {}}
        (directory / "manifest.json").write_text(json.dumps(manifest))


def test_a_new_and_an_empty_target_are_written(tmp_path: Path) -> None:
    """Parents are made; nothing else is left behind."""
    write(tmp_path / "a" / "b")
    (tmp_path / "c").mkdir()
    write(tmp_path / "c")
    assert ["a", "c"] == sorted(path.name for path in tmp_path.iterdir())
    assert "new" == (tmp_path / "a" / "b" / "model.onnx").read_text()


def test_an_earlier_output_is_replaced(tmp_path: Path) -> None:
    """The same command can be run again."""
    write(tmp_path / "a")
    (tmp_path / "a" / "model.onnx").write_text("old")
    write(tmp_path / "a")
    assert "new" == (tmp_path / "a" / "model.onnx").read_text()


@pytest.mark.parametrize("kept", ["thesis/chapter.tex", "README.md", ".env"])
@pytest.mark.parametrize("is_output", [False, True])
def test_what_the_tool_has_not_written_is_kept(tmp_path: Path, kept: str, is_output: bool) -> None:
    """Also where it lies beside an earlier output; --replace is the user's own word."""
    target = tmp_path / "a"
    if is_output:
        write(target)
    (target / kept).parent.mkdir(parents=True, exist_ok=True)
    (target / kept).write_text("work of a year")
    with pytest.raises(ArtifactError, match=rf"holds {kept.partition('/')[0]}; .*--replace"):
        write(target)
    assert "work of a year" == (target / kept).read_text()
    write(target, replace=True)
    assert not (target / kept).exists()


@pytest.mark.parametrize("made_by", ["conversion", None])
def test_another_tool_s_output_is_kept(tmp_path: Path, made_by: str | None) -> None:
    """An only checkpoint may lie there."""
    (tmp_path / "model.onnx").write_text("only")
    entry: dict[str, object] = {made_by: {}} if made_by else {}
    manifest = {"files": {"model.onnx": {}}, **entry}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="exists already"):
        write(tmp_path)


@pytest.mark.parametrize("target", ["a", ".", "a/../a", "link"])
def test_no_source_is_ever_replaced(tmp_path: Path, target: str) -> None:
    """Neither the source itself nor a directory around it, under whatever name."""
    source = tmp_path / "a"
    write(source)
    (tmp_path / "link").symlink_to(source)
    with pytest.raises(ArtifactError, match="which is read; name another target"):
        write(tmp_path / target, source, replace=True)
    write(source / "int8", source)


def test_a_file_is_no_target(tmp_path: Path) -> None:
    """It may be the only copy of something."""
    (tmp_path / "a").write_text("x")
    with pytest.raises(ArtifactError, match="something that is not a directory"):
        write(tmp_path / "a")


def test_a_failure_leaves_the_old_output(tmp_path: Path) -> None:
    """Whole or not at all."""
    write(tmp_path / "a")
    with (
        pytest.raises(ZeroDivisionError),
        new_directory(tmp_path / "a", made_by=MADE_BY, sources=[], replace=False),
    ):
        _ = 1 / 0
    assert ["a"] == [path.name for path in tmp_path.iterdir()]
    assert "new" == (tmp_path / "a" / "model.onnx").read_text()


def test_a_printed_command_works_unchanged(tmp_path: Path) -> None:
    """Names with blanks and quotes too; the user pastes it into a shell."""
    printed = next_command("verify", tmp_path / "my 'model'")
    assert [str(tmp_path / "my 'model'")] == shlex.split(printed)[-1:]
    done = subprocess.run(["bash", "-c", printed], capture_output=True, text=True)
    assert 1 == done.returncode
    assert "does not exist" in done.stdout + done.stderr
