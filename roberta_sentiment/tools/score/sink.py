"""Turn rows and their scores into lines of the output."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from roberta_sentiment.classifier import Predictions
from roberta_sentiment.errors import DataError
from roberta_sentiment.model.heads import Head
from roberta_sentiment.tools.rows import BadRow, Row

_JOINED = "|"
"""Between the labels of a multi-label text."""
_SOFTMAX = Head()
DIGITS = 6
"""Of a probability; rounding in other batches changes only later digits."""


class Sink:
    """The columns of the output.

    Args:
        path: ends in .csv or .jsonl.
        names: columns of the input.
        labels: names of the k classes.
        prefix: put before the names of the columns that are added.
        head: of the model; a multi-label one adds the labels from 0.5 on, a regression its values
            alone.

    Raises:
        DataError: the suffix is another, or an added column has the name of an input's.
    """

    def __init__(
        self,
        path: Path,
        names: Sequence[str],
        labels: Sequence[str],
        prefix: str = "",
        head: Head = _SOFTMAX,
    ) -> None:
        suffix = path.suffix.lower()
        if suffix not in (".csv", ".jsonl"):
            raise DataError(f"the output {path} must end in .csv or .jsonl")
        self.kind: Literal["csv", "jsonl"] = "csv" if suffix == ".csv" else "jsonl"
        self._head = head
        kind = "value" if head.is_regression else "probability"
        scores = [f"{kind}_{label}" for label in labels]
        added = (*self._chosen_columns(), *scores, "tokens", "truncated")
        self._names = tuple(names)
        self._added = tuple(prefix + name for name in added)
        self._known = frozenset(self._names)
        common = self._common(names)
        if common:
            raise DataError(
                f"the input has a column {common[0]!r} already; put something before the names "
                "of the added columns (--prefix predicted_)"
            )

    def header(self) -> bytes:
        """The first line, empty for JSON lines."""
        return _table([[*self._names, *self._added]]) if self.kind == "csv" else b""

    def unfit(self, row: Row) -> str | None:
        """Why a row does not fit the columns of the output, if so."""
        if row.columns.keys() == self._known:
            return None
        common = self._common(row.columns)
        if common:
            return f"it has a column {common[0]!r} already (--prefix)"
        other = sorted(row.columns.keys() - self._known)
        if other and self.kind == "csv":
            return f"a column {other[0]!r} that the first row lacks; write JSON lines instead"
        return None

    def render(self, rows: Sequence[Row], predictions: Predictions) -> bytes:
        """The lines of n rows with their n predictions."""
        truncated = set(predictions.truncated)
        lines = []
        probabilities = predictions.probabilities
        best, chosen = predictions.best, predictions.chosen
        for i, row in enumerate(rows):
            chosen_cells = [best[i], probabilities[i].max(), _JOINED.join(chosen[i])]
            added = chosen_cells[: len(self._chosen_columns())]
            added += [*probabilities[i], predictions.tokens[i], i in truncated]
            lines.append((row.columns, added))
        if self.kind == "csv":
            return _table(
                [
                    *(_cell(columns.get(name)) for name in self._names),
                    *(f"{v:.{DIGITS}f}" if isinstance(v, float) else _cell(v) for v in added),
                ]
                for columns, added in lines
            )
        return b"".join(
            _json_line({**columns, **dict(zip(self._added, map(_rounded, added), strict=True))})
            for columns, added in lines
        )

    def _chosen_columns(self) -> tuple[str, ...]:
        """Columns that say which labels a text has."""
        if self._head.is_regression:
            return ()
        return ("label", "score", "labels") if self._head.multi_label else ("label", "score")

    def _common(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if name in self._added]


def render_bad(rows: Sequence[BadRow]) -> bytes:
    """One JSON line for each rejected row: where it is, why, and what it holds.

    Bytes that are no UTF-8 are shown as in Python; `offset` and `bytes` find the row itself.
    """
    return b"".join(
        _json_line(
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


def _table(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _json_line(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _rounded(value: object) -> object:
    return round(float(value), DIGITS) if isinstance(value, float) else value


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
