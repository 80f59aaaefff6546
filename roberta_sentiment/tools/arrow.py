"""Parquet by way of Arrow: its rows as Python values, and an output that grows piece by piece."""

from __future__ import annotations

import base64
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from roberta_sentiment.errors import first_line
from roberta_sentiment.tools.extras import need

_ROWS = 256
"""Rows of a file that are in memory at once."""
_INFERRED_ROWS = 4096
_BUFFER = 2**20
_PIECES_OF_A_GROUP = 128
"""Pieces that make a row group, so that both memory and the number of groups have a bound."""

Record = dict[str, Any]


class ParquetFiles:
    """A Parquet file, or all those below a directory as Spark writes them.

    Attributes:
        paths: of the files, in the order of their names.
        schema: the pyarrow.Schema that they have in common, with what names of directories say,
            such as year=2026; a column that a file lacks is null there.

    Raises:
        OSError: there is none.
        ValueError: one can't be read, or a column has types without a common one.
    """

    def __init__(self, path: Path) -> None:
        self._arrow, dataset = need("pyarrow", "batch"), need("pyarrow.dataset", "batch")
        path.stat()  # Arrow's own message is longer
        hive = "hive" if path.is_dir() else None
        found = dataset.dataset(path, format="parquet", partitioning=hive)
        files = sorted(found.get_fragments(), key=lambda file: str(file.path))
        if not files:
            raise FileNotFoundError(2, "the directory holds no file of Parquet")
        self.paths = [Path(file.path) for file in files]
        self._folders = [dataset.get_partition_keys(file.partition_expression) for file in files]
        schemas = [found.schema, *(file.physical_schema for file in files)]
        try:
            self.schema = self._arrow.unify_schemas(schemas, promote_options="permissive")
        except self._arrow.ArrowException as error:
            raise ValueError(f"its files differ: {first_line(error)}") from None

    def count(self) -> int:
        """Rows of all files, as their footers say."""
        parquet = need("pyarrow.parquet")
        return sum(parquet.read_metadata(path).num_rows for path in self.paths)

    def rows(self, first: int) -> Iterator[tuple[Record | Exception, Any]]:
        """Rows from a number on with their pyarrow.Table, or the reason why one has no values."""
        for path, folders in zip(self.paths, self._folders, strict=True):
            with need("pyarrow.parquet").ParquetFile(path, buffer_size=_BUFFER) as file:
                for group in range(file.num_row_groups):
                    rows = file.metadata.row_group(group).num_rows
                    if first >= rows:
                        first -= rows
                        continue
                    for batch in file.iter_batches(_ROWS, row_groups=[group]):
                        yield from _rows(self._aligned(batch.slice(first), folders))
                        first = max(0, first - len(batch))

    def _aligned(self, batch: Any, folders: Record) -> Any:
        """A batch as a table with the columns and types of all files."""
        table = self._arrow.Table.from_batches([batch])
        for name, value in folders.items():
            column = self._arrow.array([value] * len(batch), self.schema.field(name).type)
            table = table.append_column(name, column)
        if table.schema.equals(self.schema):
            return table
        tables = [self.schema.empty_table(), table]
        return self._arrow.concat_tables(tables, promote_options="permissive")


def _rows(table: Any) -> Iterator[tuple[Record | Exception, Any]]:
    """One bad value, such as a string that is no UTF-8, must not cost the others."""
    try:
        values = table.to_pylist()
    except (ValueError, OverflowError) as error:
        if len(table) == 1:
            yield error, None
        else:
            for i in range(len(table)):
                yield from _rows(table.slice(i, 1))
    else:
        yield from ((value, table.slice(i, 1)) for i, value in enumerate(values))


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
    unwritable = ("null", "struct<>")
    return arrow.schema(
        (name, arrow.string() if any(word in str(kind) for word in unwritable) else kind)
        for name, kind in types.items()
    )


def _common_type(arrow: Any, before: Any, values: Sequence[Any]) -> Any:
    try:
        pair = [arrow.schema([("", kind)]) for kind in (before, arrow.array(values).type)]
        return arrow.unify_schemas(pair, promote_options="permissive").field(0).type
    except (arrow.ArrowException, OverflowError):
        return arrow.string()


class Pieces:
    """Rows as pieces of a file, each an Arrow stream of its own, of which Parquet is made.

    Args:
        schema: pyarrow.Schema of the rows.
        added: names and examples of the columns that are added.
    """

    def __init__(self, schema: Any, added: Mapping[str, Any]) -> None:
        self._arrow = need("pyarrow", "batch")
        self._given, self._added = schema, infer_schema([added])

    def piece(
        self, tables: Sequence[Any], rows: Sequence[Mapping[str, Any]], added: Sequence[Any]
    ) -> bytes:
        """A piece with n rows.

        Args:
            tables: the n rows as they were read from Parquet, or n times nothing.
            rows: the same as values; a column that one lacks is null.
            added: values of the added columns of each row.
        """
        if tables[0] is not None:
            table = self._with_small_dictionaries(self._arrow.concat_tables(tables))
        else:
            columns = [
                self._column(field, [r.get(field.name) for r in rows]) for field in self._given
            ]
            table = self._arrow.Table.from_arrays(columns, schema=self._given)
        for field, values in zip(self._added, zip(*added, strict=True), strict=True):
            table = table.append_column(field, self._arrow.array(values, field.type))
        stream = self._arrow.BufferOutputStream()
        with self._arrow.ipc.new_stream(stream, table.schema) as writer:
            writer.write_table(table.combine_chunks())
        return bytes(stream.getvalue())

    def _with_small_dictionaries(self, table: Any) -> Any:
        """The same rows; a dictionary holds what these need, and not what those of the file do."""
        for i, field in enumerate(table.schema):
            if "dictionary" in str(field.type):
                column = self._arrow.array(table.column(i).to_pylist(), field.type)
                table = table.set_column(i, field, column)
        return table

    def _column(self, field: Any, values: list[Any]) -> Any:
        if self._arrow.types.is_string(field.type):
            values = [value if value is None else to_text(value) for value in values]
        try:
            return self._arrow.array(values, field.type)
        except (self._arrow.ArrowException, OverflowError):  # a whole number beyond 2**53 as float
            return self._arrow.array(values).cast(field.type, safe=False)

    def write(self, part: Path, target: Path) -> None:
        """Make a Parquet file of the pieces in another file, in constant memory."""
        schema = self._arrow.schema([*self._given, *self._added])
        with need("pyarrow.parquet", "batch").ParquetWriter(target, schema) as writer:
            for group in itertools.batched(self._read(part), _PIECES_OF_A_GROUP):
                writer.write_table(self._arrow.concat_tables(group))

    def _read(self, part: Path) -> Iterator[Any]:
        size = part.stat().st_size
        with part.open("rb") as file:
            while file.tell() < size:
                with self._arrow.ipc.open_stream(file) as stream:
                    yield stream.read_all()
