"""Read files of texts with or without labels: TSV, CSV, JSON lines or plain text."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from roberta_sentiment.errors import DataError

TEXT_COLUMNS = ("text", "sentence", "review", "comment", "content")
LABEL_COLUMNS = ("label", "sentiment", "class", "target")


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Texts with their labels.

    Attributes:
        texts: n texts.
        labels: n indices of classes.
    """

    texts: list[str]
    labels: list[int]


def read_labelled(path: Path, labels: Sequence[str], limit: int = 0) -> Labelled:
    """Read a labelled file.

    TSV and CSV with a header, or JSON lines; the columns are found by name (`text`, `sentence`,
    `review`, ...; `label`, `sentiment`, ...). A TSV without header is `label<TAB>text`.

    Args:
        path: ends in .tsv, .csv, .jsonl or .json.
        labels: names of the classes; a label is a name or an index.
        limit: rows to read; 0 reads all.

    Raises:
        DataError: the file can't be read, a column is missing, or a label is unknown.
    """
    texts: list[str] = []
    indices: list[int] = []
    for line, row in _rows(path):
        text, label = _pick(row, TEXT_COLUMNS), _pick(row, LABEL_COLUMNS)
        if text is None or label is None:
            raise DataError(
                f"{path}, line {line}: a text and a label are needed, found {', '.join(row)}; "
                f"name the columns {TEXT_COLUMNS[0]} and {LABEL_COLUMNS[0]}"
            )
        texts.append(str(text))
        indices.append(_index(label, labels, path, line))
        if limit and len(texts) == limit:
            break
    if not texts:
        raise DataError(f"{path} holds no rows")
    return Labelled(texts, indices)


def read_texts(path: Path, limit: int = 0) -> list[str]:
    """Read texts: a column of a table, or the lines of a plain text file.

    Raises:
        DataError: the file can't be read, or has no column of texts.
    """
    texts: list[str] = []
    for line, row in _rows(path):
        text = _pick(row, TEXT_COLUMNS)
        if text is None:
            raise DataError(f"{path}, line {line}: no column {TEXT_COLUMNS[0]} in {', '.join(row)}")
        if str(text).strip():
            texts.append(str(text))
        if limit and len(texts) == limit:
            break
    if not texts:
        raise DataError(f"{path} holds no texts")
    return texts


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Line number and columns of each row."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            if path.suffix in (".jsonl", ".json"):
                for number, line in enumerate(file, 1):
                    if line.strip():
                        yield number, _object(line, path, number)
            elif path.suffix == ".csv":
                reader = csv.DictReader(file)
                for row in reader:
                    yield reader.line_num, row
            elif path.suffix == ".tsv":
                yield from _tsv_rows(file, path)
            else:
                for number, line in enumerate(file, 1):
                    if line.strip():
                        yield number, {"text": line.rstrip("\r\n")}
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from error


def _tsv_rows(file: Iterator[str] | Any, path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Tab-separated columns without quoting; the first line may name them."""
    names: list[str] = []
    for number, line in enumerate(file, 1):
        columns = line.rstrip("\r\n").split("\t")
        if not names:
            lowered = [column.strip().lower() for column in columns]
            if set(lowered) & set(TEXT_COLUMNS):
                names = lowered
                continue
            names = ["label", "text"]
        if len(columns) != len(names):
            raise DataError(
                f"{path}, line {number}: {len(columns)} columns, expected {len(names)} "
                f"({', '.join(names)})"
            )
        yield number, dict(zip(names, columns, strict=True))


def _object(line: str, path: Path, number: int) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except ValueError as error:
        raise DataError(f"{path}, line {number}: not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}, line {number}: a JSON object is needed")
    return content


def _pick(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _index(label: object, labels: Sequence[str], path: Path, line: int) -> int:
    name = str(label).strip()
    lowered = [known.lower() for known in labels]
    if name.lower() in lowered:
        return lowered.index(name.lower())
    if name.isdigit() and int(name) < len(labels):
        return int(name)
    raise DataError(
        f"{path}, line {line}: {name!r} is no label of this model; labels are "
        f"{', '.join(labels)} or 0 to {len(labels) - 1}"
    )
