"""Turn rows and their scores into pieces of the output."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from roberta_sentiment.classifier import Predictions
from roberta_sentiment.errors import DataError
from roberta_sentiment.model.heads import Head
from roberta_sentiment.tools import arrow
from roberta_sentiment.tools.rows import KINDS, BadRow, Kind, Row
from roberta_sentiment.tools.streams import STANDARD, compressor, plain_suffix

_JOINED = "|"
"""Between the labels of a multi-label text."""
_SOFTMAX = Head()
DIGITS = 6
"""Of a probability; rounding in other batches changes only later digits."""
_ESCAPES = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r"})
"""What a cell between tabs can't hold, and how it is written."""


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


def refuse_common(names: Iterable[str], added: Container[str]) -> None:
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


def output_kind(path: Path, read_kind: Kind) -> Kind:
    """What an output's name asks for; on standard output that of the input, but never Parquet.

    Raises:
        DataError: nothing that is known.
    """
    if path == STANDARD:
        return "jsonl" if read_kind == "parquet" else read_kind
    kind = KINDS.get(plain_suffix(path))
    if kind is None:
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
        refuse_common(names, examples)
        self._names, self._known, self._added = tuple(names), frozenset(names), tuple(examples)
        self._of_text = len(_chosen_columns(head)) or len(labels)
        self._compress = compressor(path)
        self._pieces = arrow.Pieces(schema, examples) if kind == "parquet" else None

    def header(self) -> bytes:
        """What comes before the first row."""
        is_table = self.kind in ("csv", "tsv")
        return self._compress(self._lines([(*self._names, *self._added)]) if is_table else b"")

    def unfit(self, row: Row) -> str | None:
        """Why a row does not fit the columns of the output, if so."""
        for name in sorted(row.columns.keys() - self._known):
            if name in self._added:
                return f"it has a column {name!r} already (--prefix)"
            if self.kind not in ("jsonl", "text"):
                return f"a column {name!r} that the first row lacks; write JSON lines instead"
        return None

    def render(self, rows: Sequence[Row], predictions: Predictions) -> bytes:
        """The piece for n rows with their n predictions."""
        return self._compress(self._piece(rows, added_values(predictions)))

    def _piece(self, rows: Sequence[Row], added: Sequence[Sequence[Any]]) -> bytes:
        scored = zip(rows, added, strict=True)
        if self._pieces:
            return self._pieces.piece([r.table for r in rows], [r.columns for r in rows], added)
        if self.kind == "jsonl":
            objects = ({**r.columns, **dict(zip(self._added, v, strict=True))} for r, v in scored)
            return b"".join(map(json_line, objects))
        if self.kind == "text":
            return self._lines([*map(_cell, v[: self._of_text]), r.text] for r, v in scored)
        return self._lines(
            [*(arrow.to_text(r.columns.get(name)) for name in self._names), *map(_cell, v)]
            for r, v in scored
        )

    def _lines(self, rows: Iterable[Sequence[str]]) -> bytes:
        if self.kind == "csv":
            return b"".join(map(_comma_separated, rows))
        return b"".join(map(_tab_separated, rows))

    def publish(self, part: Path, output: Path) -> None:
        """Give the output its name, now that all its pieces are there."""
        if not self._pieces:
            part.replace(output)
            return
        scratch = output.with_name(output.name + ".new")
        self._pieces.write(part, scratch)
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


def _comma_separated(cells: Sequence[str]) -> bytes:
    """A row of CSV that ends in LF; a CR alone is quoted, too, since readers take it for an end."""
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue().removesuffix("\r\n").encode() + b"\n"


def _tab_separated(cells: Sequence[str]) -> bytes:
    return "\t".join(cell.translate(_ESCAPES) for cell in cells).encode() + b"\n"


def json_line(content: Mapping[str, Any]) -> bytes:
    """An object as a line."""
    text = json.dumps(arrow.to_json(content), ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def _rounded(value: float) -> float:
    return round(float(value), DIGITS)


def _cell(value: object) -> str:
    """The cell of an added value; a score has all its digits."""
    return f"{value:.{DIGITS}f}" if isinstance(value, float) else arrow.to_text(value)
