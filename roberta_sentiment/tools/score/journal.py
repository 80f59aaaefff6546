"""An output that grows in a part file, and a state file that says how far it is to be trusted.

What is written first becomes durable (fsync), then the state that counts it. So whenever a run
ends, even by kill -9 or a power cut, the next one cuts the part files to the recorded sizes and
resumes as if nothing had happened.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from roberta_sentiment.errors import DataError
from roberta_sentiment.tools.streams import STANDARD

FORMAT = 1


@dataclasses.dataclass(frozen=True)
class State:
    """How far a run has come.

    Attributes:
        identity: what the output depends on, in groups; a resumed run needs the same.
        offset, line: position in the input up to which everything is written.
        output_bytes, rejected_bytes: sizes of the two part files at that position.
        rows, rejected, truncated: rows written, rejected, and written but truncated for the model.
        complete: whether only the renaming is left.
    """

    identity: Mapping[str, Mapping[str, Any]]
    offset: int
    line: int
    output_bytes: int = 0
    rejected_bytes: int = 0
    rows: int = 0
    rejected: int = 0
    truncated: int = 0
    complete: bool = False


@dataclasses.dataclass(frozen=True)
class Files:
    """The files of one output."""

    output: Path

    @property
    def rejected(self) -> Path:
        return self._beside(".rejected.jsonl")

    @property
    def part(self) -> Path:
        return self._beside(".part")

    @property
    def rejected_part(self) -> Path:
        return self._beside(".rejected.jsonl.part")

    @property
    def state(self) -> Path:
        return self._beside(".state")

    def _beside(self, suffix: str) -> Path:
        return self.output.with_name(self.output.name + suffix)


class Journal:
    """An output that is being written; made by `open_journal`.

    Attributes:
        state: what is durable.
        resumed: whether an earlier run wrote some of it.
    """

    def __init__(self, files: Files, state: State, parts: Sequence[BinaryIO]) -> None:
        self.state = state
        self.resumed = state.rows + state.rejected > 0
        self._files = files
        self._parts = parts

    def commit(
        self, lines: bytes, bad_lines: bytes, *, offset: int, line: int, **counts: int
    ) -> None:
        """Make the next piece durable.

        Args:
            lines, bad_lines: appended to the part files.
            offset, line: position in the input up to which the chunk reaches.
            counts: added to `rows`, `rejected` and `truncated`.
        """
        self._append((lines, bad_lines))
        self._write(
            dataclasses.replace(
                self.state,
                offset=offset,
                line=line,
                output_bytes=self.state.output_bytes + len(lines),
                rejected_bytes=self.state.rejected_bytes + len(bad_lines),
                **{name: getattr(self.state, name) + more for name, more in counts.items()},
            )
        )

    def finish(self, publish: Callable[[Path, Path], None]) -> None:
        """Give the files their final names; without rejected rows there is no such file.

        Args:
            publish: makes the output of its part file, which it removes.
        """
        files = self._files
        if not self.state.complete:
            self._write(dataclasses.replace(self.state, complete=True))
            _sync_directory(files.state)
        if not self.state.rejected_bytes:
            files.rejected.unlink(missing_ok=True)
            files.rejected_part.unlink(missing_ok=True)
        elif files.rejected_part.exists():
            files.rejected_part.replace(files.rejected)
        if files.part.exists():
            publish(files.part, files.output)
        _sync_directory(files.output)
        files.state.unlink()

    def discard(self) -> None:
        """Leave nothing behind."""
        for path in (self._files.state, self._files.part, self._files.rejected_part):
            path.unlink(missing_ok=True)

    def _append(self, pieces: Sequence[bytes]) -> None:
        for part, piece in zip(self._parts, pieces, strict=True):
            if piece:
                part.write(piece)
                part.flush()
                os.fsync(part.fileno())

    def _write(self, state: State) -> None:
        scratch = self._files.state.with_name(self._files.state.name + ".new")
        content = json.dumps({"format": FORMAT, **dataclasses.asdict(state)}, indent=2) + "\n"
        with scratch.open("wb") as file:
            file.write(content.encode())
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(self._files.state)
        self.state = state


class StandardOutput(Journal):
    """Standard output, of which nothing can be taken back; rejected rows are only reported."""

    def finish(self, publish: Callable[[Path, Path], None]) -> None:
        """Nothing is left to do."""

    def discard(self) -> None:
        """Nothing can be done."""

    def _append(self, pieces: Sequence[bytes]) -> None:
        sys.stdout.buffer.write(pieces[0])
        sys.stdout.buffer.flush()

    def _write(self, state: State) -> None:
        self.state = state


@contextmanager
def open_journal(
    output: Path, start: State, *, restart: bool = False, resume: bool = True
) -> Iterator[Journal]:
    """Begin an output, or resume where an earlier run stopped.

    Args:
        output: final name, or `-`.
        start: the state of a run that has done nothing yet.
        restart: forget an earlier run and replace a finished output.
        resume: whether the input can be read again.

    Raises:
        DataError: the output is finished already, another process writes it, an earlier run had
            another identity, or its files are damaged.
    """
    files = Files(output)
    if output == STANDARD:
        yield StandardOutput(files, start, ())
        return
    earlier = _read(files.state) if resume and not restart else None
    if earlier:
        _refuse_change(earlier, start, files)
    elif output.exists() and not restart:
        raise DataError(f"{output} exists already; --restart replaces it")
    try:
        if earlier and earlier.complete and (files.part.exists() or output.exists()):
            yield Journal(files, earlier, ())
            return
        with files.part.open("ab") as part, files.rejected_part.open("ab") as rejected_part:
            _lock(part, output)
            if not earlier:
                files.state.unlink(missing_ok=True)
            state = earlier or start
            _cut(part, state.output_bytes, files.part)
            _cut(rejected_part, state.rejected_bytes, files.rejected_part)
            yield Journal(files, state, (part, rejected_part))
    except OSError as error:
        raise DataError(f"{error.filename or output} can't be written: {error.strerror}") from error


def _lock(part: BinaryIO, output: Path) -> None:
    try:
        fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DataError(f"another process is writing {output}") from None


def _read(path: Path) -> State | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format") != FORMAT:
            raise DataError(f"{path} was written by another version; --restart starts over")
        return State(**content)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, TypeError, LookupError, AttributeError):
        raise DataError(f"{path} is damaged; --restart starts over") from None


def _refuse_change(earlier: State, start: State, files: Files) -> None:
    others = []
    for group, values in start.identity.items():
        before = earlier.identity.get(group, {})
        changed = [name for name in values if before.get(name) != values[name]]
        if changed:
            others.append(f"another {group} ({', '.join(changed)})")
    if others:
        raise DataError(
            f"{files.part} was begun with {' and '.join(others)}; put that back and repeat the "
            "command, or start over with --restart"
        )


def _cut(part: BinaryIO, recorded: int, path: Path) -> None:
    """Remove what was written after the last state."""
    size = os.fstat(part.fileno()).st_size
    if size < recorded:
        raise DataError(
            f"{path} has {size} bytes, but {recorded} were written; --restart starts over"
        )
    part.truncate(recorded)


def _sync_directory(path: Path) -> None:
    """Make a renaming in the directory of a file durable."""
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
