"""Read a file of texts row by row, from any row on, knowing where each row ends."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, NoReturn, cast

from roberta_sentiment.errors import DataError
from roberta_sentiment.tools import arrow
from roberta_sentiment.tools.streams import (
    COMPRESSED,
    STANDARD,
    is_compressed,
    length,
    open_input,
    plain_suffix,
    reading,
    skip,
)

Kind = Literal["csv", "tsv", "jsonl", "text", "parquet"]

TEXT_COLUMNS = ("text", "sentence", "review", "comment", "content")
LABEL_COLUMNS = ("label", "sentiment", "class", "target")
ID_COLUMN = "id"
_KNOWN_COLUMNS = (*TEXT_COLUMNS, *LABEL_COLUMNS, ID_COLUMN)

KINDS: Mapping[str, Kind] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".txt": "text",
    ".parquet": "parquet",
}
MAX_ROW_BYTES = 2**20
"""Of one row; a longer one is rejected, so that memory has a bound."""

EMPTY = "the text is empty"
"""Reason of a row whose text is blank."""

_CR = "a CR stands outside of quotes; end lines with LF or CRLF"
_DELIMITERS = ",;\t"
"""Of a CSV file, tried in this order."""
_TEXT_TYPE = re.compile(r"(dictionary<values=)?(large_)?string")
"""How Arrow calls types of texts."""
_BOM = b"\xef\xbb\xbf"
_UTF16 = re.compile(rb"\xff\xfe|\xfe\xff|([^\0]\0){2}|(\0[^\0]){2}", re.DOTALL)
"""How it begins, with a mark or without one."""


@dataclasses.dataclass(frozen=True, slots=True)
class Position:
    """A position between two rows.

    Attributes:
        offset: bytes before it, decompressed; of Parquet, rows.
        line: lines before it; of Parquet, rows.
    """

    offset: int
    line: int


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """A row with a text.

    Attributes:
        start, end: where it lies; it begins in line `start.line + 1`.
        columns: all its columns, the text among them.
        text: what is to be scored; empty where the file need not have texts.
        raw: its bytes; of Parquet, the row as JSON.
        table: of Parquet, the row as a pyarrow.Table.
    """

    start: Position
    end: Position
    columns: Mapping[str, Any]
    text: str
    raw: bytes
    table: Any = dataclasses.field(default=None, compare=False)


@dataclasses.dataclass(frozen=True, slots=True)
class BadRow:
    """A row that can't be scored.

    Attributes:
        start, end: where it lies.
        reason: what is wrong with it.
        raw: its bytes, at most `MAX_ROW_BYTES` of them.
    """

    start: Position
    end: Position
    reason: str
    raw: bytes


class _RowError(Exception):
    """A row that can't be read; the message is the reason."""


class _Records:
    """What rows are made of.

    Attributes:
        position: behind the last one.
        raw: bytes of those that were read since it was cleared.
        table: of Parquet, the last one as a pyarrow.Table.
    """

    def __init__(self, position: Position) -> None:
        self.position = position
        self.raw = bytearray()
        self.table: Any = None


class _ParquetRecords(_Records):
    """Rows of Parquet, counted."""

    def __init__(self, path: Path, position: Position) -> None:
        super().__init__(position)
        self._values = arrow.ParquetFiles(path).rows(position.line)

    def __next__(self) -> Mapping[str, Any]:
        columns, self.table = next(self._values)
        self.position = Position(self.position.offset + 1, self.position.line + 1)
        if isinstance(columns, Exception):
            raise _RowError(str(columns))
        self.raw += json.dumps(arrow.to_json(columns), ensure_ascii=False).encode()
        if len(self.raw) > MAX_ROW_BYTES:
            del self.raw[MAX_ROW_BYTES:]
            raise _RowError(f"the row is longer than {MAX_ROW_BYTES} bytes")
        return columns


class _Stream(io.RawIOBase):
    """A stream that can't be read twice, but whose first line can."""

    def __init__(self, file: BinaryIO) -> None:
        self.first = file.readline(MAX_ROW_BYTES + 1)
        while self.first.isspace() and (line := file.readline(MAX_ROW_BYTES + 1)):
            self.first += line
        self._parts = (io.BytesIO(self.first), file)

    def readline(self, size: int | None = -1) -> bytes:
        """The next line."""
        return self._parts[0].readline(size) or self._parts[1].readline(size or -1)

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        return self._parts[0].read(size) or self._parts[1].read(size)


class _Lines(_Records):
    """Lines of a file, counted; it hands out no byte before it is asked for."""

    def __init__(self, file: BinaryIO, position: Position) -> None:
        super().__init__(position)
        skip(file, position.offset)
        self._file = file

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._read()
        if not line:
            raise StopIteration
        room = MAX_ROW_BYTES - len(self.raw)
        self.raw += line[:room]
        if len(line) > room:
            while not line.endswith(b"\n") and (line := self._read()):
                pass
            self._count_line()
            raise _RowError(f"the row is longer than {MAX_ROW_BYTES} bytes; is a quote not closed?")
        self._count_line()
        return line.decode("utf-8", "surrogateescape")

    def _read(self) -> bytes:
        line = self._file.readline(MAX_ROW_BYTES + 1)
        self.position = Position(self.position.offset + len(line), self.position.line)
        return line

    def _count_line(self) -> None:
        self.position = Position(self.position.offset, self.position.line + 1)


@dataclasses.dataclass(frozen=True)
class Source:
    """A file of texts.

    Attributes:
        path: the file.
        kind: how it is read.
        start: where its rows begin.
        names: columns of a table; nothing for JSON lines, whose rows name their own.
        text_column: name of the column to score; empty: the first of `TEXT_COLUMNS` in the row.
        delimiter: between the cells of a table.
        needs_text: whether a row without a text is a bad one.
        stream: standard input; a file is opened again for each reading.
    """

    path: Path
    kind: Kind
    start: Position
    names: tuple[str, ...] | None
    text_column: str
    delimiter: str = ","
    needs_text: bool = True
    stream: _Stream | None = None

    def rows(self, position: Position | None = None) -> Iterator[Row | BadRow]:
        """Rows from a position on; blank lines of tables and JSON lines are not rows.

        Args:
            position: where a row begins; by default that of the first.

        Raises:
            DataError: the file can't be read.
        """
        with reading(self.path), contextlib.ExitStack() as stack:
            records, read = self._reader(position or self.start, stack)
            while True:
                start = records.position
                records.raw.clear()
                try:
                    columns = read()
                    if columns is not None:
                        text, raw = self._text(columns), bytes(records.raw)
                        yield Row(start, records.position, columns, text, raw, records.table)
                except StopIteration:
                    return
                except _RowError as error:
                    yield BadRow(start, records.position, str(error), bytes(records.raw))

    def first_names(self) -> tuple[str, ...]:
        """Columns of the table, or of the first JSON object that can be read."""
        if self.names is not None:
            return self.names
        first_line = _Stream(io.BytesIO(self.stream.first)) if self.stream else None
        source = dataclasses.replace(self, stream=first_line)
        first = next((row for row in source.rows() if isinstance(row, Row)), None)
        return tuple(first.columns) if first else ()

    def size(self, *, count: bool) -> int | None:
        """What a position's offset counts, of the whole file.

        Args:
            count: whether a compressed file may be read to its end; else its size is not known.

        Raises:
            DataError: it has to be counted, and is standard input.
        """
        if self.stream:
            if count:
                raise DataError("a part of standard input can't be told; name a file")
            return None
        with reading(self.path):
            if self.kind == "parquet":
                return arrow.ParquetFiles(self.path).count()
            return length(self.path) if count or not is_compressed(self.path) else None

    def _reader(
        self, position: Position, stack: contextlib.ExitStack
    ) -> tuple[_Records, Callable[[], Mapping[str, Any] | None]]:
        if self.kind == "parquet":
            records = _ParquetRecords(self.path, position)
            return records, lambda: next(records)
        file = cast(BinaryIO, self.stream) if self.stream else open_input(self.path)
        lines = _Lines(stack.enter_context(file), position)
        if self.kind == "jsonl":
            return lines, lambda: _object(next(lines))
        if self.kind == "text":
            return lines, lambda: {"text": _clean(next(lines).rstrip("\r\n"))}
        names = self.names or ()
        cells = _cells(self.delimiter if self.kind == "csv" else "", lines)
        return lines, lambda: _named(names, cells())

    def _text(self, columns: Mapping[str, Any]) -> str:
        name = self.text_column or find_column(columns, TEXT_COLUMNS) or TEXT_COLUMNS[0]
        text = columns.get(name)
        return "" if not text and not self.needs_text else _checked(name, text)


def row_of_text(name: str, text: Any, position: Position) -> Row | BadRow:
    """A row of a table that others have read, of which only the text is known."""
    try:
        raw = _clean(_checked(name, text)).encode()
        if len(raw) > MAX_ROW_BYTES:
            raise _RowError(f"the row is longer than {MAX_ROW_BYTES} bytes")
        return Row(position, position, {}, text, raw)
    except _RowError as error:
        return BadRow(position, position, str(error), b"")


def _checked(name: str, text: Any) -> str:
    if text is None:
        raise _RowError(f"no {name!r} in it")
    if not isinstance(text, str):
        raise _RowError(f"{name} is {type(text).__name__}; a string is needed")
    if not text.strip():
        raise _RowError(EMPTY)
    return text


def open_source(
    path: Path, text_column: str = "", *, needs_text: bool = True, kind: Kind | None = None
) -> Source:
    """Find out how a file is to be read.

    CSV with a header, where a quoted cell may hold line breaks, between commas, semicolons or tabs;
    TSV without quoting, whose header may be missing if it is `label<TAB>text`; JSON lines; plain
    text, one text a line; Parquet, a file or a directory of files. All but Parquet may be
    compressed by gzip or Zstandard.

    Args:
        path: its suffix, before .gz or .zst, tells the kind, see `KINDS`; `-` is standard input.
        text_column: by default the first of `TEXT_COLUMNS` there is.
        needs_text: whether each row must have a text.
        kind: for a path that does not tell it; what comes from standard input is taken for JSON
            lines if it begins so, else for CSV.

    Raises:
        DataError: the file can't be read, is of no known kind, or has no such column.
    """
    kind = kind or KINDS.get(plain_suffix(path))
    if kind is None and path != STANDARD:
        raise DataError(
            f"{path} must end in one of {', '.join(KINDS)}, before {' or '.join(COMPRESSED)}; or "
            "name its format (--format)"
        )
    if kind == "parquet":
        return _parquet(path, text_column, needs_text=needs_text)
    if path.exists() and not path.is_file():
        raise DataError(f"{path} is not a plain file; write the texts to one")
    with reading(path):
        stream, first = _first(path)
        start = _start(path, first)
        kind = kind or ("jsonl" if first.lstrip().startswith(b"{") else "csv")
        if kind == "jsonl":
            return Source(
                path, kind, start, None, text_column, needs_text=needs_text, stream=stream
            )
        if kind == "text":
            if text_column not in ("", "text"):
                raise DataError(f"{path} is plain text, it has no column {text_column!r}")
            return Source(path, kind, start, ("text",), "text", stream=stream)
        source = read_header(
            path, kind, io.BytesIO(first), start, text_column, needs_text=needs_text
        )
        return dataclasses.replace(source, stream=stream)


def _first(path: Path) -> tuple[_Stream | None, bytes]:
    """Standard input as it can be read once, and the bytes that tell how a file is to be read."""
    file = open_input(path)
    if path == STANDARD:
        stream = _Stream(file)
        return stream, stream.first
    with file:
        return None, file.read(MAX_ROW_BYTES + 1)


def _parquet(path: Path, text_column: str, *, needs_text: bool) -> Source:
    if path == STANDARD:
        raise DataError("Parquet can't be read from standard input; name a file")
    with reading(path):
        schema = arrow.ParquetFiles(path).schema
    names = tuple(schema.names)
    found = text_column_of(path, names, text_column, needs_text=needs_text)
    kind = schema.field(found).type if found else "string"
    if not _TEXT_TYPE.match(str(kind)):
        raise DataError(f"{path}: the column {found!r} holds {kind}; strings are needed")
    return Source(path, "parquet", Position(0, 0), names, found, needs_text=needs_text)


def text_column_of(path: Path, names: Sequence[str], asked: str, *, needs_text: bool = True) -> str:
    """The column of the texts; empty where it may be missing.

    Raises:
        DataError: there is none.
    """
    found = _text_column(names, asked, needs_text=needs_text)
    if found is None:
        raise _no_column(path, names, asked)
    return found


def _text_column(names: Sequence[str], asked: str, *, needs_text: bool) -> str | None:
    """The column of the texts; empty where it may be missing, none where it may not."""
    if asked:
        return asked if asked in names else None
    may_lack = not needs_text and find_column(names, _KNOWN_COLUMNS)
    return find_column(names, TEXT_COLUMNS) or ("" if may_lack else None)


def _start(path: Path, first: bytes) -> Position:
    """Behind the byte order mark, if there is one."""
    if _UTF16.match(first):
        raise DataError(f"{path} is UTF-16; convert it to UTF-8")
    return Position(len(_BOM) if first.startswith(_BOM) else 0, 0)


def read_header(
    path: Path,
    kind: Kind,
    file: BinaryIO,
    start: Position,
    text_column: str = "",
    *,
    needs_text: bool = True,
) -> Source:
    """Find out delimiter, columns and start of a table from its first lines.

    Raises:
        DataError: there is no such column.
    """
    failures = []
    for delimiter in _DELIMITERS if kind == "csv" else "\t":
        lines = _Lines(file, start)
        try:
            header = _header(path, delimiter if kind == "csv" else "", lines)
        except DataError as error:
            failures.append(error)
            continue
        found = _text_column(header, text_column, needs_text=needs_text)
        if found is not None:
            _refuse_double(path, header)
            return Source(path, kind, lines.position, header, found, delimiter, needs_text)
        known = find_column(header, _KNOWN_COLUMNS)
        if kind == "tsv" and len(header) == 2 and not known and not text_column:
            names = (LABEL_COLUMNS[0], TEXT_COLUMNS[0])
            return Source(path, kind, start, names, TEXT_COLUMNS[0], delimiter)
        failures.append(_no_column(path, header, text_column))
    raise failures[0]


def _no_column(path: Path, header: Sequence[str], text_column: str) -> DataError:
    wanted = repr(text_column) if text_column else f"named {', '.join(TEXT_COLUMNS)}"
    return DataError(
        f"{path}: no column {wanted}, found {', '.join(map(repr, header))}; "
        "name the column of the texts (--text-column)"
    )


def _header(path: Path, delimiter: str, lines: _Lines) -> tuple[str, ...]:
    read = _cells(delimiter, lines)
    try:
        cells = read()
        while not cells:
            cells = read()
        return tuple(_clean(cell) for cell in cells)
    except StopIteration:
        raise DataError(f"{path} holds no rows") from None
    except _RowError as error:
        raise DataError(f"{path}: its first line can't be read: {error}") from None


def _refuse_double(path: Path, header: Sequence[str]) -> None:
    double = sorted({name for name in header if header.count(name) > 1})
    if double:
        raise DataError(f"{path}: two columns are named {double[0]!r}; rename one of them")


def find_column(columns: Iterable[str], names: Sequence[str]) -> str:
    """The first of these names among the columns, as spelt there; empty if none is."""
    lowered = {column.strip().lower(): column for column in columns}
    return next((lowered[name] for name in names if name in lowered), "")


def _cells(delimiter: str, lines: _Lines) -> Callable[[], list[str]]:
    """A function that gives the cells of the next row, none for a blank line.

    Args:
        delimiter: of a CSV file; empty for TSV, which knows no quotes.
        lines: of the file.
    """
    if delimiter:
        csv.field_size_limit(max(csv.field_size_limit(), MAX_ROW_BYTES))
        reader = csv.reader(lines, strict=True, delimiter=delimiter)

        def read() -> list[str]:
            try:
                return next(reader)
            except csv.Error as error:  # one of its messages is advice for programmers
                is_cr = "new-line character" in str(error)
                raise _RowError(_CR if is_cr else str(error)) from None

        return read

    def split() -> list[str]:
        line = next(lines).rstrip("\r\n")
        return line.split("\t") if line else []

    return split


def _named(names: Sequence[str], cells: Sequence[str]) -> Mapping[str, str] | None:
    if not cells:
        return None
    if len(cells) != len(names):
        raise _RowError(f"{_count(cells)}, expected {len(names)} ({', '.join(names)})")
    return {name: _clean(cell) for name, cell in zip(names, cells, strict=True)}


def _count(cells: Sequence[str]) -> str:
    return "1 column" if len(cells) == 1 else f"{len(cells)} columns"


def _object(line: str) -> Mapping[str, Any] | None:
    if not line.strip():
        return None
    try:
        content = json.loads(
            _clean(line), parse_constant=_no_json, object_pairs_hook=_without_doubles
        )
        if not isinstance(content, dict):
            raise _RowError("each line must be a JSON object")
        json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise _RowError("it holds half a surrogate pair, which is not Unicode text") from None
    except (ValueError, RecursionError) as error:
        raise _RowError(f"not valid JSON: {error}") from None
    return content


def _without_doubles(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"two values named {max(names, key=names.count)!r}")
    return content


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def _clean(cell: str) -> str:
    """The cell, if all its bytes were UTF-8."""
    try:
        cell.encode()
    except UnicodeEncodeError as error:
        byte = ord(cell[error.start]) & 0xFF
        raise _RowError(
            f"not UTF-8: byte 0x{byte:02x} after {error.start} characters; convert it to UTF-8"
        ) from None
    return cell
