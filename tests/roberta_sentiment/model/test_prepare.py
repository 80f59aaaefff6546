"""The optimised file is made where there is room; elsewhere a server starts without it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from roberta_sentiment.errors import ArtifactError
from roberta_sentiment.model import prepare as module
from roberta_sentiment.model.artifact import open_artifact
from roberta_sentiment.model.derived import find_optimized
from roberta_sentiment.model.prepare import prepare, prepare_small


@pytest.mark.parametrize("name", ["memory.max", "memory/memory.limit_in_bytes"])
def test_a_low_memory_limit_is_respected(own_tmp: Path, toy_path: Path, name: str) -> None:
    """The kernel would kill the whole container, and again at each start."""
    artifact = open_artifact(toy_path)
    limit = own_tmp / name
    limit.parent.mkdir(exist_ok=True)
    limit.write_text("100000000\n", encoding="ascii")
    with pytest.raises(ArtifactError, match="may take 150 MB of memory, 100 MB are free"):
        prepare(artifact, own_tmp)
    limit.write_text("max\n", encoding="ascii")
    assert prepare(artifact, own_tmp).is_dir()


def test_a_large_model_does_not_hold_up_a_start(
    own_tmp: Path, toy_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file is made beside the requests."""
    monkeypatch.setattr(module, "SMALL", 10)
    prepare_small(open_artifact(toy_path))
    assert [] == list(own_tmp.iterdir())


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("disk")])
def test_a_full_disk_is_logged_and_stops_nothing(
    own_tmp: Path,
    toy_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    """A pod whose /tmp is full serves the original; half a file does not stay behind."""

    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr("roberta_sentiment.model.optimize.save_optimized", full)
    prepare_small(open_artifact(toy_path))
    assert "no optimised file was made" in caplog.text
    assert [] == [path for path in own_tmp.rglob("*") if path.is_file()]


def command(model: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "roberta_sentiment.model.prepare", str(model)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_command_makes_the_file(own_tmp: Path, toy_path: Path) -> None:
    """A server starts it and looks for what it has made."""
    done = command(toy_path)
    assert (0, "") == (done.returncode, done.stderr)
    assert find_optimized(open_artifact(toy_path).digest) is not None


def test_the_command_says_in_a_sentence_why_it_failed(tmp_path: Path) -> None:
    """The server puts it into its log."""
    done = command(tmp_path / "nowhere")
    assert 1 == done.returncode
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr
