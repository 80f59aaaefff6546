"""Turn rows and their scores into pieces of the output."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from roberta_sentiment.classifier import Predictions
from roberta_sentiment.errors import DataError
from roberta_sentiment.model.heads import Head
from roberta_sentiment.tools import arrow
from roberta_sentiment.tools.rows import KINDS, BadRow, Kind, Row
from roberta_sentiment.tools.streams import STANDARD, compressor, is_compressed, plain_suffix

_JOINED = "|"
"""Between the labels of a multi-label text."""
_SOFTMAX = Head()
DIGITS = 6
"""Of a probability; rounding in other batches changes only later digits."""
_ESCAPES = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r"})
"""What a cell between tabs can't hold, and how it is written."""

Scored = tuple[Row, Sequence[Any]]
"""A row and the values of the columns that are added."""


def added_columns(labels: Sequence[str], head: Head) -> dict[str, Any]:
    """The columns that are added, each with an example of its values."""
    value = "value" if head.is_regression else "probability"
    scores = {f"{value}_{label}": 0.5 for label in labels}
    chosen = dict(zip(_chosen_columns(head), ("", 0.5, ""), strict=False))
    return {**chosen, **scores, "tokens": 0, "truncated": False}


def added_values(predictions: Predictions) -> list[list[Any]]:
    """Of n texts the values of the columns that are added."""
    truncated = set(predictions.truncated)
    names = _chosen_columns(predictions.head)
    values = []
    rows = zip(predictions.best, predictions.chosen, predictions.probabilities, strict=True)
    for i, (best, chosen, scores) in enumerate(rows):
        cells = [best, _rounded(scores.max()), _JOINED.join(chosen)][: len(names)]
        values.append([*cells, *map(_rounded, scores), predictions.tokens[i], i in truncated])
    return values


def _chosen_columns(head: Head) -> tuple[str, ...]:
    """Columns that say which labels a text has."""
    if head.is_regression:
        return ()
    return ("label", "score", "labels") if head.multi_label else ("label", "score")


def refuse_common(names: Iterable[str], added: Collection[str]) -> None:
    """Refuse an input that has a column which is to be added.

    Raises:
        DataError: it has one.
    """
    common = [name for name in names if name in added]
    if common:
        raise DataError(
            f"the input has a column {common[0]!r} already; put something before the names "
            "of the added columns (--prefix predicted_)"
        )


class Format(Protocol):
    """How rows become bytes."""

    def header(self) -> bytes:
        """What comes before the first row."""
        ...

    def rows(self, rows: Sequence[Scored]) -> bytes:
        """The rows, which may be put after others."""
        ...


class Table:
    """Rows of cells, under a header.

    Args:
        names: columns of the input and those that are added.
        tabs: between tabs and without quotes; else CSV.
    """

    def __init__(self, names: Sequence[str], *, tabs: bool) -> None:
        self._names = names
        self._tabs = tabs

    def header(self) -> bytes:
        return self._lines([self._names])

    def rows(self, rows: Sequence[Scored]) -> bytes:
        return self._lines(
            [
                *(arrow.to_text(row.columns.get(name)) for name in self._names[: -len(added)]),
                *map(_cell, added),
            ]
            for row, added in rows
        )

    def _lines(self, rows: Iterable[Sequence[str]]) -> bytes:
        if self._tabs:
            return "".join(map(_tab_separated, rows)).encode()
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        return text.getvalue().encode()


class Text:
    """A line a text: the first columns that are added, then the text, between tabs."""

    def __init__(self, columns: int) -> None:
        self._columns = columns

    def header(self) -> bytes:
        return b""

    def rows(self, rows: Sequence[Scored]) -> bytes:
        lines = [[*map(_cell, added[: self._columns]), row.text] for row, added in rows]
        return "".join(map(_tab_separated, lines)).encode()


class JsonLines:
    """An object a row."""

    def __init__(self, added: Sequence[str]) -> None:
        self._added = added

    def header(self) -> bytes:
        return b""

    def rows(self, rows: Sequence[Scored]) -> bytes:
        return b"".join(json_line(_joined(row, self._added, added)) for row, added in rows)


class Parquet:
    """Pieces of an Arrow stream, of which `Sink.publish` makes Parquet.

    Args:
        schema: pyarrow.Schema of the input.
        added: names and examples of the columns that are added.
    """

    def __init__(self, schema: Any, added: Mapping[str, Any]) -> None:
        self._added = tuple(added)
        self._pieces = arrow.Pieces([*schema, *arrow.infer_schema([added])])

    def header(self) -> bytes:
        return self._pieces.header()

    def rows(self, rows: Sequence[Scored]) -> bytes:
        return self._pieces.rows([_joined(row, self._added, added) for row, added in rows])


def output_kind(path: Path, read_kind: Kind) -> Kind:
    """What an output's name asks for; on standard output that of the input, but never Parquet.

    Raises:
        DataError: nothing that is known.
    """
    if path == STANDARD:
        return "jsonl" if read_kind == "parquet" else read_kind
    kind = KINDS.get(plain_suffix(path))
    if kind is None or (kind == "parquet" and is_compressed(path)):
        raise DataError(
            f"the output {path} must end in .csv, .tsv, .jsonl or .txt, before .gz or .zst if you "
            "like, or in .parquet; or name its format (--output-format)"
        )
    return kind


class Sink:
    """The columns of the output.

    Args:
        path: of the output.
        kind: how it is written.
        names: columns of the input.
        labels: names of the k classes.
        prefix: put before the names of the columns that are added.
        head: of the model; a multi-label one adds the labels from 0.5 on, a regression its values
            alone.
        schema: pyarrow.Schema of the input, for Parquet.

    Raises:
        DataError: an added column has the name of an input's.
    """

    def __init__(
        self,
        path: Path,
        kind: Kind,
        names: Sequence[str],
        labels: Sequence[str],
        prefix: str = "",
        head: Head = _SOFTMAX,
        schema: Any = None,
    ) -> None:
        self.kind = kind
        examples = {prefix + name: value for name, value in added_columns(labels, head).items()}
        added = list(examples)
        self._added = frozenset(added)
        self._known = frozenset(names)
        self._compress = compressor(path)
        refuse_common(names, added)
        self._format: Format = JsonLines(added)
        if kind in ("csv", "tsv"):
            self._format = Table([*names, *added], tabs=kind == "tsv")
        elif kind == "text":
            self._format = Text(len(_chosen_columns(head)) or len(labels))
        elif kind == "parquet":
            self._format = Parquet(schema, examples)

    def header(self) -> bytes:
        """What comes before the first row."""
        return self._compress(self._format.header())

    def unfit(self, row: Row) -> str | None:
        """Why a row does not fit the columns of the output, if so."""
        if row.columns.keys() == self._known:
            return None
        for name in row.columns:
            if name in self._added:
                return f"it has a column {name!r} already (--prefix)"
        other = sorted(row.columns.keys() - self._known)
        if other and self.kind != "jsonl":
            return f"a column {other[0]!r} that the first row lacks; write JSON lines instead"
        return None

    def render(self, rows: Sequence[Row], predictions: Predictions) -> bytes:
        """The piece for n rows with their n predictions."""
        values = added_values(predictions)
        return self._compress(self._format.rows(list(zip(rows, values, strict=True))))

    def publish(self, part: Path, output: Path) -> None:
        """Give the output its name, now that all its pieces are there."""
        if self.kind != "parquet":
            part.replace(output)
            return
        scratch = output.with_name(output.name + ".new")
        arrow.write_parquet(part, scratch)
        with scratch.open("rb") as file:
            os.fsync(file.fileno())
        scratch.replace(output)
        part.unlink()


def render_bad(rows: Sequence[BadRow]) -> bytes:
    """One JSON line for each rejected row: where it is, why, and what it holds.

    Bytes that are no UTF-8 are shown as in Python; `offset` and `bytes` find the row itself.
    """
    return b"".join(
        json_line(
            {
                "line": row.start.line + 1,
                "offset": row.start.offset,
                "bytes": row.end.offset - row.start.offset,
                "reason": row.reason,
                "row": row.raw.decode("utf-8", "backslashreplace"),
            }
        )
        for row in rows
    )


def _joined(row: Row, names: Sequence[str], added: Sequence[Any]) -> dict[str, Any]:
    return {**row.columns, **dict(zip(names, added, strict=True))}


def _tab_separated(cells: Sequence[str]) -> str:
    return "\t".join(cell.translate(_ESCAPES) for cell in cells) + "\n"


def json_line(content: Mapping[str, Any]) -> bytes:
    """An object as a line."""
    text = json.dumps(arrow.to_json(content), ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def _rounded(value: float) -> float:
    return round(float(value), DIGITS)


def _cell(value: object) -> str:
    """The cell of an added value; a score has all its digits."""
    return f"{value:.{DIGITS}f}" if isinstance(value, float) else arrow.to_text(value)
