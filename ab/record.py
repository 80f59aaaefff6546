"""The record of a run: append-only, a JSON object a line."""

from __future__ import annotations

import dataclasses
import datetime
import fcntl
import json
import os
import tempfile
import threading
from pathlib import Path
from typing import Any, Self

from ab.errors import RecordError

Event = dict[str, Any]

FORMAT = 2

_NEVER = "9999-01-01T00:00:00+00:00"


class Journal:
    """Appends events to a record. One process at a time; several threads may share it.

    A torn last line, left by a crash, is closed and followed by a `recovered` event, so that
    nothing that is in the file ever changes.

    Args:
        path: file; made if missing.

    Raises:
        RecordError: another process writes to it, or it can't be written.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            flags = os.O_APPEND | os.O_CREAT | os.O_RDWR | os.O_CLOEXEC
            self._file = os.open(path, flags, 0o600)
        except OSError as error:
            raise RecordError(f"{path.name} can't be written: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise RecordError(f"{path.name} is in use by another run") from error
        self._recover()

    def append(self, event: Event, *, durable: bool = False) -> None:
        """Write an event.

        Args:
            event: of plain JSON values.
            durable: survive a power failure, not only the end of this process.
        """
        line = json.dumps(event, ensure_ascii=False, allow_nan=False) + "\n"
        with self._lock:
            _write(self._file, line.encode("utf-8", "surrogatepass"))
            if durable:
                os.fsync(self._file)

    def close(self) -> None:
        """Write everything to the disk and let others write."""
        os.fsync(self._file)
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _recover(self) -> None:
        size = os.fstat(self._file).st_size
        if size == 0 or os.pread(self._file, 1, size - 1) == b"\n":
            return
        _write(self._file, b"\n")
        self.append({"event": "recovered"}, durable=True)


def _write(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


@dataclasses.dataclass(frozen=True)
class Content:
    """What a record holds.

    Attributes:
        events: in the order of writing.
        torn: lines cut short by a crash, as a `recovered` event or the end of the file shows.
        damaged: numbers of other lines that can't be read; nothing should make them.
    """

    events: tuple[Event, ...]
    torn: int
    damaged: tuple[int, ...]


def read_record(path: Path) -> Content:
    """Read a record, also while it is being written.

    Raises:
        RecordError: there is none, or it is of a newer format.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise RecordError(f"{path.name} can't be read: {error.strerror}") from error
    parsed = [_parse(line) for line in lines]
    events, torn, damaged = [], 0, []
    for i, (line, event) in enumerate(zip(lines, parsed, strict=True)):
        if event is not None:
            events.append(event)
        elif line.strip():
            follower = parsed[i + 1] if i + 1 < len(lines) else {"event": "recovered"}
            if follower is not None and follower["event"] == "recovered":
                torn += 1
            else:
                damaged.append(i + 1)
    newest = max((e.get("format", 0) for e in events if e["event"] == "run"), default=FORMAT)
    if newest > FORMAT:
        raise RecordError(f"{path.name} has format {newest}; this program reads {FORMAT}")
    return Content(tuple(events), torn, tuple(damaged))


def drop_texts(path: Path, before: float) -> None:
    """Delete the texts of older requests from a record; their checksums stay.

    Args:
        path: of the record.
        before: s since 1970.

    Raises:
        RecordError: another process writes to it.
    """
    with Journal(path), tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        for line in path.read_bytes().splitlines(keepends=True):
            event = _parse(line) or {}
            ended = datetime.datetime.fromisoformat(event.get("time", _NEVER)).timestamp()
            if event.get("text") is not None and ended < before:
                text = json.dumps({**event, "text": None}, ensure_ascii=False) + "\n"
                line = text.encode("utf-8", "surrogatepass")
            file.write(line)
        file.flush()
        os.fsync(file.fileno())
        Path(file.name).replace(path)


def _parse(line: bytes) -> Event | None:
    try:
        event = json.loads(line.decode("utf-8", "surrogatepass"))
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None
