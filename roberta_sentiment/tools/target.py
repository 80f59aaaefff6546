"""The directory that a tool writes: replaced atomically, and nothing of the user's is lost."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from roberta_sentiment.errors import ArtifactError
from roberta_sentiment.model.layout import MANIFEST


@contextlib.contextmanager
def new_directory(
    target: Path, *, made_by: str, sources: Sequence[Path], replace: bool
) -> Iterator[Path]:
    """A directory beside the target, which becomes the target after the block.

    Args:
        target: the directory to write. If it exists it must be empty or an earlier output.
        made_by: key of the manifest by which the tool knows its own output.
        sources: files and directories that are read, and must not be replaced.
        replace: whether any other target is replaced.

    Raises:
        ArtifactError: the target may not be replaced, or can't be written.
    """
    check_target(target, made_by=made_by, sources=sources, replace=replace)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-")
    except OSError as error:
        raise ArtifactError(f"{target} can't be written: {error.strerror}") from error
    with scratch as folder:
        directory = Path(folder) / target.name
        directory.mkdir()
        yield directory
        try:
            put_in_place(directory, target)
        except OSError as error:
            raise ArtifactError(f"{target} can't be replaced: {error.strerror}") from error


def check_target(target: Path, *, made_by: str, sources: Sequence[Path], replace: bool) -> None:
    """Refuse a target that holds what the user may want to keep.

    Raises:
        ArtifactError: it is a source or holds one, or it exists and is not an earlier output.
    """
    for source in sources:
        if source.resolve().is_relative_to(target.resolve()):
            raise ArtifactError(
                f"the target {target} holds {source}, which is read; name another target"
            )
    if not (target.exists() or target.is_symlink()) or replace or _is_empty(target):
        return
    unknown = _not_written_by(target, made_by)
    if unknown:
        raise ArtifactError(
            f"{target} exists already and holds {unknown}; name another target, or replace it "
            "(--replace)"
        )


def put_in_place(made: Path, target: Path) -> None:
    """Give a directory the target's name; what had it before is removed."""
    old = target.with_name(f"{target.name}.old-{os.getpid()}")
    if target.exists() or target.is_symlink():
        target.rename(old)
    made.rename(target)
    if old.is_symlink() or old.is_file():
        old.unlink()
    elif old.exists():
        shutil.rmtree(old)


def next_command(*arguments: str | Path) -> str:
    """A command of this program, ready to be pasted into a shell here."""
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    return shlex.join([str(python), "-m", "roberta_sentiment", *map(str, arguments)])


def _is_empty(target: Path) -> bool:
    return target.is_dir() and not target.is_symlink() and not any(target.iterdir())


def _not_written_by(target: Path, made_by: str) -> str:
    """The first thing in a target that an earlier run has not written; empty if there is none."""
    if not target.is_dir() or target.is_symlink():
        return "something that is not a directory"
    try:
        manifest = json.loads((target / MANIFEST).read_text(encoding="utf-8"))
        written = {*manifest["files"], MANIFEST} if made_by in manifest else set()
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        written = set()
    for entry in sorted(target.iterdir()):
        if entry.name not in written or not entry.is_file():
            return entry.name
    return ""
