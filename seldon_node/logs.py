"""Logging that no reader can stop and no caller can forge."""

from __future__ import annotations

import fcntl
import io
import logging
import os
import stat
import sys
from typing import Any

_LONGEST_SENTENCE = 300
_UNPRINTABLE = {
    code: f"\\x{code:02x}" for code in (*range(0x20), 0x7F, *range(0x80, 0xA0)) if code != 0x09
} | {0x2028: "\\u2028", 0x2029: "\\u2029"}


def printable(text: str, limit: int = _LONGEST_SENTENCE) -> str:
    """A text on one line of at most `limit` characters, control characters escaped."""
    line = text[: limit + 1].translate(_UNPRINTABLE)
    return line if len(line) <= limit else line[: limit - 3] + "..."


class _Record(logging.LogRecord):
    """A log record whose message is one line, whatever a caller put into it."""

    def getMessage(self) -> str:  # noqa: N802  (logging's name)
        """The message, control characters escaped."""
        return super().getMessage().translate(_UNPRINTABLE)


class LossyStream(io.TextIOBase):
    """Writes to a descriptor and drops what nobody reads, instead of waiting.

    Args:
        descriptor: where to write; a pipe or socket is set not to block.
    """

    encoding = "utf-8"

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.dropped = 0
        _never_block(descriptor)

    def write(self, text: str) -> int:
        """Write a text, or count it as dropped."""
        if self.dropped:
            text = f"{self.dropped} earlier log entries were dropped: nobody read them\n{text}"
        try:
            os.write(self._descriptor, text.encode("utf-8", "backslashreplace"))
        except OSError:
            self.dropped += 1
        else:
            self.dropped = 0
        return len(text)

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether a person is reading."""
        return os.isatty(self._descriptor)


def install() -> None:
    """Let every log entry of this process, and of those it forks, be one line that never blocks."""
    logging.setLogRecordFactory(_Record)
    old = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = LossyStream(1), LossyStream(2)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream in old:
            handler.setStream(sys.stderr if handler.stream is old[1] else sys.stdout)


def _never_block(descriptor: int) -> None:
    """Set a pipe or a socket not to block, without a change for other processes if possible.

    A flag belongs to all who share an open pipe, so it is reopened.
    """
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISFIFO(mode):
            path = f"/proc/self/fd/{descriptor}"
            own = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.dup2(own, descriptor)
            os.close(own)
        elif stat.S_ISSOCK(mode):
            os.set_blocking(descriptor, False)
    except OSError:  # a pipe of another user, as some container runtimes make it
        _set_flag(descriptor)


def _set_flag(descriptor: int) -> Any:
    try:
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        return fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    except OSError:
        return None
