"""The directory beside the target in which a model is put together, and that becomes the target.

Until everything is there and checked, the target does not exist. What has been fetched stays in the
workplace when a run fails, so that the next one goes on; only another source, or a file that is not
what was expected, empties it.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path

from roberta_sentiment.errors import ArtifactError, ChecksumError
from roberta_sentiment.tools.target import put_in_place

_SOURCE = ".source"
_LOCK = ".lock"


@contextlib.contextmanager
def workplace(target: Path, source: str, *, replace: bool) -> Iterator[Path]:
    """Make or take up the workplace of a target; after the block it is the target.

    Args:
        target: the model directory to be.
        source: what is fetched; files fetched from another source are dropped.
        replace: whether an existing target is replaced.

    Raises:
        ArtifactError: the target exists, can't be written, or is being fetched right now.
    """
    if not replace and (target.exists() or target.is_symlink()):
        empty = target.is_dir() and not any(target.iterdir())
        if not empty:
            raise ArtifactError(
                f"{target} exists already; name another directory, or replace it (--replace)"
            )
    path = target.with_name(f"{target.name}.part")
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / _LOCK).open("w")
    except OSError as error:
        raise ArtifactError(f"{path} can't be written: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ArtifactError(
                f"{path} is in use: {target} is being fetched by another process; wait for it"
            ) from None
        _take_up(path, source)
        try:
            yield path
        except ChecksumError:
            shutil.rmtree(path)
            raise
        except BaseException:
            if not _holds_anything(path):
                shutil.rmtree(path)
            raise
        _become(path, target)


def _take_up(path: Path, source: str) -> None:
    note = path / _SOURCE
    if not note.exists() or note.read_text(encoding="utf-8") != source:
        for entry in path.iterdir():
            if entry.name != _LOCK:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        note.write_text(source, encoding="utf-8")


def _holds_anything(path: Path) -> bool:
    return any(entry.name not in (_SOURCE, _LOCK) for entry in path.iterdir())


def _become(path: Path, target: Path) -> None:
    for entry in path.glob(".*"):  # the note, the lock, and an archive that was unpacked
        entry.unlink()
    put_in_place(path, target)
