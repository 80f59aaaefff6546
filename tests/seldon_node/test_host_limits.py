"""What a container must grant, and the sentence where it does not."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from roberta_sentiment.errors import SettingsError
from seldon_node import host_limits


@pytest.mark.parametrize("folder", [".", "pids"], ids=["cgroup v2", "cgroup v1"])
def test_too_few_tasks_abort_startup(tmp_path: Path, folder: str) -> None:
    """Else the service would hang under its first many clients."""
    needed = host_limits.tasks_needed(1, 96, 1, 96)
    assert needed > 192
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "pids.max").write_text(str(needed), encoding="ascii")
    host_limits.check_tasks(needed, tmp_path)
    (tmp_path / folder / "pids.max").write_text("100", encoding="ascii")
    with pytest.raises(SettingsError, match=rf"may have 100 .* needs {needed}; raise the limit"):
        host_limits.check_tasks(needed, tmp_path)


@pytest.mark.parametrize("content", ["max", None])
def test_no_limit(tmp_path: Path, content: str | None) -> None:
    """Where nothing is limited, or nothing is known, the service starts."""
    if content:
        (tmp_path / "pids.max").write_text(content, encoding="ascii")
    host_limits.check_tasks(10**6, tmp_path)


def test_no_room_for_files_aborts_startup(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence that names the folder and the reason."""
    host_limits.check_temporary_files()

    def refuse() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(SettingsError, match=r"no file can be written to .*No space left"):
        host_limits.check_temporary_files()
