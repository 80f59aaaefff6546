"""Log entries that stop no request and that no caller can forge."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from seldon_node.logs import LossyStream, _Record, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("a\nINFO: forged", "a\\x0aINFO: forged", id="line feed"),
        pytest.param("\x1b[2J\r\x00\x7f\x9b", "\\x1b[2J\\x0d\\x00\\x7f\\x9b", id="terminal codes"),
        pytest.param("a\u2028b", "a\\u2028b", id="line separator"),
        pytest.param("Grüße\t🎬", "Grüße\t🎬", id="text"),
        pytest.param("a" * 400, "a" * 297 + "...", id="long"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    """One line of bounded length, whatever it was."""
    assert shown == printable(text)


def test_a_record_is_one_line() -> None:
    """Also where the caller's text is an argument of the message."""
    record = _Record("a", logging.INFO, "a.py", 1, "path %s", ("/\n2026 CRITICAL",), None)
    assert "path /\\x0a2026 CRITICAL" == record.getMessage()


def test_a_pipe_nobody_reads_costs_no_time() -> None:
    """What does not fit is dropped and counted; the next entry that fits says how many."""
    reader, writer = os.pipe()
    try:
        stream = LossyStream(writer)
        while not stream.dropped:
            stream.write("x" * 1000 + "\n")
        stream.write("y\n" * 500)
        assert 2 == stream.dropped
        while len(os.read(reader, 65536)) == 65536:
            pass
        stream.write("read again\n")
        expected = "2 earlier log entries were dropped: nobody read them\nread again\n"
        assert expected == os.read(reader, 65536).decode()
        assert 0 == stream.dropped
    finally:
        os.close(reader)
        os.close(writer)


def test_another_holder_of_the_pipe_still_blocks() -> None:
    """The flag must not reach the shell or the program on the same pipe."""
    reader, writer = os.pipe()
    other = os.dup(writer)
    try:
        LossyStream(writer)
        assert not os.get_blocking(writer)
        assert os.get_blocking(other)
    finally:
        for descriptor in (reader, writer, other):
            os.close(descriptor)


def test_files_are_written_whole(tmp_path: Path) -> None:
    """Lone surrogates included, which a path may hold."""
    with (tmp_path / "log").open("wb") as file:
        LossyStream(file.fileno()).write("a\ud800\n")
    assert b"a\\ud800\n" == (tmp_path / "log").read_bytes()
