"""Parquet by way of Arrow: its rows as Python values, and an output that grows piece by piece."""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from roberta_sentiment.tools.extras import need

_ROWS = 256
"""Rows of a file that are in memory at once."""
_INFERRED_ROWS = 4096
_BUFFER = 2**20
_GROUP_BYTES = 2**26
"""Of a row group that is written."""

Record = dict[str, Any]


def files(path: Path) -> list[Path]:
    """A Parquet file, or those of a directory as Spark writes it, in the order of their names."""
    return sorted(path.glob("*.parquet")) if path.is_dir() else [path]


def read_schema(path: Path) -> Any:
    """The pyarrow.Schema of a file, or of the first one of a directory."""
    found = next(iter(files(path)), None)
    if found is None:
        raise FileNotFoundError(2, "the directory holds no file *.parquet")
    return need("pyarrow.parquet", "batch").read_schema(found)


def count_rows(path: Path) -> int:
    """Rows of a file or of all files of a directory, as their footers say."""
    parquet = need("pyarrow.parquet", "batch")
    return sum(parquet.read_metadata(file).num_rows for file in files(path))


def read_rows(path: Path, first: int) -> Iterator[Record | Exception]:
    """Rows from a number on; where one can't be told as Python values, the reason why."""
    parquet = need("pyarrow.parquet", "batch")
    for file in files(path):
        with parquet.ParquetFile(file, buffer_size=_BUFFER) as table:
            for group in range(table.num_row_groups):
                rows = table.metadata.row_group(group).num_rows
                for batch in table.iter_batches(_ROWS, row_groups=[group]) if first < rows else ():
                    yield from _values(batch.slice(first))
                    first -= min(first, len(batch))
                    rows -= len(batch)
                first -= min(first, rows)


def _values(batch: Any) -> list[Record | Exception]:
    """One bad value, such as a string that is no UTF-8, must not cost the others."""
    try:
        found: list[Record | Exception] = batch.to_pylist()
    except (ValueError, OverflowError) as error:
        if len(batch) == 1:
            return [error]
        return [value for i in range(len(batch)) for value in _values(batch.slice(i, 1))]
    return found


def to_json(value: Any) -> Any:
    """A value of Arrow as one that JSON has: a time is text, bytes are base64, NaN is null."""
    if isinstance(value, dict):
        return {str(key): to_json(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(part) for part in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def to_text(value: Any) -> str:
    """A value as text: itself if it is text, empty for none, else JSON."""
    plain = to_json(value)
    if plain is None:
        return ""
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def infer_schema(rows: Iterable[Mapping[str, Any]]) -> Any:
    """A pyarrow.Schema for all columns of all rows; what has no common type is JSON as text."""
    arrow = need("pyarrow", "batch")
    types: dict[str, Any] = {}
    for chunk in itertools.batched(rows, _INFERRED_ROWS):
        for name in dict.fromkeys(name for row in chunk for name in row):
            values = [row.get(name) for row in chunk]
            types[name] = _common_type(arrow, types.get(name, arrow.null()), values)
    return arrow.schema(types.items())


def _common_type(arrow: Any, before: Any, values: Sequence[Any]) -> Any:
    try:
        pair = [arrow.schema([("", kind)]) for kind in (before, arrow.array(values).type)]
        return arrow.unify_schemas(pair, promote_options="permissive").field(0).type
    except (arrow.ArrowException, OverflowError):
        return arrow.string()


class Pieces:
    """Rows as pieces of an Arrow stream, which are put together to Parquet at the end.

    Args:
        schema: pyarrow.Schema of the rows; a type that Parquet can't hold becomes JSON as text.
    """

    def __init__(self, schema: Any) -> None:
        self._arrow = need("pyarrow", "batch")
        self._schema = self._arrow.schema(
            [(field.name, self._writable(field.type)) for field in schema]
        )

    def header(self) -> bytes:
        """The piece before all others."""
        return bytes(self._schema.serialize())

    def rows(self, rows: Sequence[Mapping[str, Any]]) -> bytes:
        """A piece with rows; a column that a row lacks is null."""
        columns = [
            self._column(field, [row.get(field.name) for row in rows]) for field in self._schema
        ]
        return bytes(self._arrow.record_batch(columns, schema=self._schema).serialize())

    def _column(self, field: Any, values: list[Any]) -> Any:
        if self._arrow.types.is_string(field.type):
            values = [value if value is None else to_text(value) for value in values]
        try:
            return self._arrow.array(values, field.type)
        except (self._arrow.ArrowException, OverflowError):  # a whole number beyond 2**53 as float
            return self._arrow.array(values).cast(field.type, safe=False)

    def _writable(self, kind: Any) -> Any:
        """The type, if an empty table of it can be written and read; dictionaries are dissolved."""
        kind = kind.value_type if self._arrow.types.is_dictionary(kind) else kind
        table = self._arrow.schema([("", kind)]).empty_table()
        with contextlib.suppress(self._arrow.ArrowException):
            if not self._arrow.types.is_null(kind):
                need("pyarrow.parquet", "batch").write_table(table, io.BytesIO())
                piece = [table.schema.serialize(), *(b.serialize() for b in table.to_batches())]
                self._arrow.ipc.open_stream(b"".join(map(bytes, piece))).read_all()
                return kind
        return self._arrow.string()


def write_parquet(part: Path, target: Path) -> None:
    """Make a Parquet file of the pieces in another file, in constant memory."""
    arrow, parquet = need("pyarrow", "batch"), need("pyarrow.parquet", "batch")
    group: list[Any] = []
    with (
        part.open("rb") as file,
        arrow.ipc.open_stream(file) as pieces,
        parquet.ParquetWriter(target, pieces.schema) as writer,
    ):
        for piece in pieces:
            group.append(piece)
            if sum(batch.nbytes for batch in group) >= _GROUP_BYTES:
                writer.write_table(arrow.Table.from_batches(group))
                group = []
        writer.write_table(arrow.Table.from_batches(group, pieces.schema))
