"""Files for people and programs, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from roberta_sentiment.errors import DataError


def require_directories(*files: Path | None) -> None:
    """Make sure, before any work, that files can be written.

    Raises:
        DataError: the directory of one does not exist.
    """
    for file in files:
        if file and not file.parent.is_dir():
            raise DataError(f"the directory of {file} does not exist")


def write_file(path: Path, content: str) -> None:
    """Write a file atomically.

    Raises:
        DataError: it can't be written.
    """
    scratch = path.with_name(f".{path.name}.new")
    try:
        scratch.write_text(content, encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        raise DataError(f"{path} can't be written: {error.strerror}") from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON for a program atomically.

    Raises:
        DataError: it can't be written.
    """
    write_file(path, json.dumps(content, indent=2, allow_nan=False) + "\n")
