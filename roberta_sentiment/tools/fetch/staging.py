"""The directory beside the target in which a model is gathered, and from which a run resumes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from roberta_sentiment.errors import ArtifactError, ChecksumError, first_line
from roberta_sentiment.tools.target import check_target, put_in_place

_SOURCE = ".source"
"""Says what is fetched, and is locked meanwhile."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def staging_dir(target: Path, source: str, *, replace: bool) -> Iterator[Path]:
    """TARGET.part, which becomes the target after the block.

    What has arrived stays in it when a run fails, so that the next one resumes. Another source, or
    a file that is not what was expected, empties it.

    Args:
        target: the model directory to be.
        source: what is fetched.
        replace: whether an existing target is replaced.

    Raises:
        ArtifactError: the target exists, can't be written, or is being fetched right now.
    """
    check_target(target, made_by="", sources=(), replace=replace)
    path = target.with_name(f"{target.name}.part")
    with _one_sentence(path):
        path.mkdir(parents=True, exist_ok=True)
        with (path / _SOURCE).open("a+", encoding="utf-8") as note:
            try:
                fcntl.flock(note, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ArtifactError(
                    f"{path} is in use: {target} is being fetched by another process; wait for it"
                ) from None
            try:
                _drop_other_source(path, note, source)
                yield path
            except BaseException as error:
                nothing = [entry.name for entry in path.iterdir()] == [_SOURCE]
                if nothing or isinstance(error, ChecksumError):
                    shutil.rmtree(path)
                raise
            for entry in path.glob(".*"):  # the note, and an archive that was unpacked
                entry.unlink()
            put_in_place(path, target)


@contextlib.contextmanager
def _one_sentence(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise ArtifactError(
                f"no space left in {path}; make room and run the same command again to resume"
            ) from error
        reason = error.strerror or first_line(error)
        raise ArtifactError(f"{error.filename or path} can't be used: {reason}") from error


def _drop_other_source(path: Path, note: TextIO, source: str) -> None:
    """Empty a staging directory in which another source was fetched."""
    note.seek(0)
    if note.read() == source:
        return
    for entry in path.iterdir():
        if entry.name != _SOURCE:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    note.truncate(0)
    note.write(source)
    note.flush()
