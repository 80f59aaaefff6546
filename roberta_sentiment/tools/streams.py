"""Bytes in and out: plain files, files compressed by gzip or Zstandard, standard input."""

from __future__ import annotations

import functools
import gzip
import io
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from roberta_sentiment.errors import DataError
from roberta_sentiment.tools.extras import need

STANDARD = Path("-")
"""Standard input or standard output."""
COMPRESSED = (".gz", ".zst")
_GZIP = b"\x1f\x8b"
_ZSTANDARD = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")
"""How files compressed by them begin, with a frame to be skipped too; no UTF-8 text begins so."""
_BLOCK = 2**20


def is_compressed(path: Path) -> bool:
    """Whether a file's name says so."""
    return path.suffix.lower() in COMPRESSED


def plain_suffix(path: Path) -> str:
    """What a file's name ends in, without the suffix of a compression."""
    name = path.with_suffix("") if is_compressed(path) else path
    return name.suffix.lower()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn failures to read a file into sentences.

    Raises:
        DataError: it can't be opened, read or decompressed.
    """
    try:
        yield
    except (OSError, EOFError, ValueError, zlib.error) as error:  # Arrow says ValueError
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} can't be read: {reason}") from error


def open_input(path: Path) -> BinaryIO:
    """The bytes of a file or of standard input, decompressed if they need it."""
    file = cast(
        io.BufferedReader,
        sys.stdin.buffer if path == STANDARD else io.BufferedReader(path.open("rb", 0)),
    )
    start = file.peek(4)
    if start.startswith(_GZIP):
        return cast(BinaryIO, gzip.GzipFile(fileobj=file))
    if _ZSTANDARD.match(start):
        arrow = need("pyarrow", "batch")
        return io.BufferedReader(arrow.CompressedInputStream(file, "zstd"))
    return file


def skip(file: BinaryIO, offset: int) -> None:
    """Go forward to a byte."""
    if file.seekable():
        file.seek(offset)
        return
    while offset and (block := file.read(min(offset, _BLOCK))):
        offset -= len(block)


def length(path: Path) -> int:
    """Bytes of a file, decompressed."""
    if not is_compressed(path):
        return path.stat().st_size
    with open_input(path) as file:
        return sum(map(len, iter(functools.partial(file.read, _BLOCK), b"")))


def compressor(path: Path) -> Callable[[bytes], bytes]:
    """What makes a piece of an output ready to be written after others.

    Compressed pieces one after another are a whole compressed file; the same piece gives the same
    bytes at any time.
    """
    suffix = path.suffix.lower()
    if suffix == ".zst":
        codec = need("pyarrow", "batch").Codec("zstd")
        return lambda piece: codec.compress(piece, asbytes=True) if piece else b""
    if suffix == ".gz":
        return lambda piece: gzip.compress(piece, mtime=0) if piece else b""
    return lambda piece: piece
