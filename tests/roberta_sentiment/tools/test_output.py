"""Files that are written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from roberta_sentiment.errors import DataError
from roberta_sentiment.tools.output import require_directories, write_file, write_json


def test_a_file_replaces_the_one_before(tmp_path: Path) -> None:
    """Nothing is left beside it."""
    write_file(tmp_path / "a.txt", "old")
    write_file(tmp_path / "a.txt", "né\n")
    assert ["a.txt"] == [path.name for path in tmp_path.iterdir()]
    assert "né\n" == (tmp_path / "a.txt").read_text(encoding="utf-8")


def test_json_can_be_read_back(tmp_path: Path) -> None:
    """NaN, which JSON has not, is a fault and leaves what was there."""
    write_json(tmp_path / "a.json", {"é": [1, None]})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert {"é": [1, None]} == json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))


def test_a_directory_is_asked_for_before_any_work(tmp_path: Path) -> None:
    """Hours of scoring must not end with a misspelt path; files not asked for do not matter."""
    require_directories(tmp_path / "a.json", None)
    with pytest.raises(DataError, match=r"the directory of .*none/a\.json does not exist"):
        require_directories(tmp_path / "a.json", tmp_path / "none" / "a.json")


def test_a_file_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    """The target is a directory here."""
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match="a can't be written: Is a directory"):
        write_file(tmp_path / "a", "")
