"""Bytes in and out, compressed or not."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pyarrow as arrow
import pytest

from roberta_sentiment.errors import DataError
from roberta_sentiment.tools.streams import (
    compressor,
    is_compressed,
    length,
    open_input,
    plain_suffix,
    reading,
    skip,
)

CONTENT = "line é\n".encode() * 1000


def zstandard(content: bytes) -> bytes:
    packed: bytes = arrow.Codec("zstd").compress(content, asbytes=True)
    return packed


@pytest.mark.parametrize(
    ("suffix", "compressed", "name"),
    [
        (".csv", False, "a.csv"),
        (".csv", True, "a.CSV.gz"),
        (".jsonl", True, "a.b.jsonl.zst"),
        ("", False, "a"),
        ("", True, "a.gz"),
    ],
)
def test_a_suffix_is_read_before_that_of_a_compression(
    suffix: str, compressed: bool, name: str
) -> None:
    """Capitals do not matter."""
    assert (suffix, compressed) == (plain_suffix(Path(name)), is_compressed(Path(name)))


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.csv.zst"])
@pytest.mark.parametrize("packed", [bytes, gzip.compress, zstandard])
def test_the_content_tells_how_it_is_compressed(
    tmp_path: Path, name: str, packed: type[bytes]
) -> None:
    """Files carry wrong names, and standard input none."""
    (tmp_path / name).write_bytes(packed(CONTENT))
    with open_input(tmp_path / name) as file:
        assert CONTENT == file.read()


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.csv.zst"])
def test_pieces_make_a_whole_file(tmp_path: Path, name: str) -> None:
    """Its length is that of the content, and an empty piece adds nothing."""
    pack = compressor(Path(name))
    (tmp_path / name).write_bytes(pack(CONTENT) + pack(b"") + pack(CONTENT))
    assert b"" == pack(b"")
    assert pack(CONTENT) == pack(CONTENT)
    assert 2 * len(CONTENT) == length(tmp_path / name)


class Pipe(io.BytesIO):
    """It can only be read from its beginning."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: int) -> int:
        raise OSError


@pytest.mark.parametrize("kind", [io.BytesIO, Pipe])
def test_a_file_goes_on_at_a_byte(kind: type[io.BytesIO]) -> None:
    """A pipe is read up to there; beyond its end nothing is left."""
    for offset in (0, 3, len(CONTENT) + 1):
        file = kind(CONTENT)
        skip(file, offset)
        assert CONTENT[offset:] == file.read()


@pytest.mark.parametrize(
    "error", [FileNotFoundError(2, "No such file"), EOFError("ended early"), ValueError("No such")]
)
def test_a_failure_to_read_is_one_sentence(error: Exception) -> None:
    """Each library has its own kind of error."""
    reason = getattr(error, "strerror", None) or str(error)
    with pytest.raises(DataError, match=f"a.csv can't be read: {reason}"), reading(Path("a.csv")):
        raise error
