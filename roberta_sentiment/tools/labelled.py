"""Read files of texts with or without labels: TSV, CSV, JSON lines or plain text."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from roberta_sentiment.errors import DataError, TextError
from roberta_sentiment.label_names import parse_label_map
from roberta_sentiment.text.check import check_text
from roberta_sentiment.tools.rows import (
    EMPTY,
    LABEL_COLUMNS,
    TEXT_COLUMNS,
    BadRow,
    Row,
    Source,
    find_column,
    open_source,
)

TextColumnOption = Annotated[
    str,
    typer.Option(
        "--text-column", help=f"Column of the texts; by default {', '.join(TEXT_COLUMNS)}."
    ),
]
LabelColumnOption = Annotated[
    str,
    typer.Option(
        "--label-column", help=f"Column of the labels; by default {', '.join(LABEL_COLUMNS)}."
    ),
]
LabelMapOption = Annotated[
    str,
    typer.Option(
        "--label-map",
        help="What other names of labels stand for, such as LABEL_1=positive,bad=negative. Case "
        "never matters.",
    ),
]

_SHORTEST = 3
"""Letters of an abbreviated label, such as "pos"."""
_MOST_SHOWN = 20
_UNNAMED = "label_"
"""How transformers calls a class without a name, before its number."""
_BOOLEANS = {"false": 0, "true": 1}


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Texts with their labels.

    Attributes:
        texts: n texts.
        labels: n indices of classes.
        meanings: for each label of the file the class that it stands for.
        unused: classes of the model that no text has.
    """

    texts: list[str]
    labels: list[int]
    meanings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    unused: tuple[str, ...] = ()

    def remarks(self) -> list[str]:
        """What the user should know of the labels: how they were read, and what is missing."""
        remarks = []
        read_as = {given: name for given, name in self.meanings.items() if given != name}
        if read_as:
            pairs = ", ".join(f"{given} is {name}" for given, name in sorted(read_as.items()))
            remarks.append(f"labels of the file: {pairs}")
        if self.unused:
            hint = "; if a number stands for another class, name the classes in order (--labels)"
            numbers = any(
                _number(given.lower().removeprefix(_UNNAMED)) is not None for given in read_as
            )
            names = " or ".join(self.unused)
            remarks.append(f"no text has the label {names}{hint if numbers else ''}")
        return remarks


class LabelReader:
    """Reads the labels of a file and keeps which class each stands for.

    Args:
        labels: names of the classes; a label is a name, its beginning, a number, LABEL_0 and so on,
            or, of two classes, true or false.
        column: name of the column; by default the first of `LABEL_COLUMNS` that a row has.
        numbered: names of the classes that the numbers 0, 1, ... of the file stand for. By default
            a number is that of a name, such as 5 of "5 stars", else an index.
        label_map: what other names in the file stand for.

    Attributes:
        meanings: for each label of the file the class that it stands for.

    Raises:
        DataError: `numbered` names another class.
    """

    def __init__(
        self,
        labels: Sequence[str],
        column: str = "",
        numbered: Sequence[str] = (),
        label_map: Mapping[str, str] | None = None,
    ) -> None:
        unknown = [name for name in numbered if name not in labels]
        if unknown:
            raise DataError(f"--labels names {unknown[0]!r}; labels are {', '.join(labels)}")
        self.meanings: dict[str, str] = {}
        self._labels, self._column, self._numbered = labels, column, numbered
        self._label_map = label_map or {}

    def read(self, row: Row, where: str) -> str | None:
        """The class of a row, by name; None where its label is missing or empty.

        Args:
            row: of the file.
            where: its position, for a message.

        Raises:
            DataError: it is not a label of these classes.
        """
        names = [self._column] if self._column else LABEL_COLUMNS
        values = (row.columns.get(find_column(row.columns, [name]) or name) for name in names)
        word = next((str(value).strip() for value in values if value is not None), "")
        if word and word not in self.meanings:
            meant = self._label_map.get(word, word)
            self.meanings[word] = _meaning(meant, self._labels, self._numbered, where)
        return self.meanings.get(word)

    def require(self, row: Row, where: str) -> str:
        """The class of a row, by name.

        Raises:
            DataError: it has no label, or it is not a label of these classes.
        """
        label = self.read(row, where)
        if label is None:
            wanted = repr(self._column) if self._column else f"named {', '.join(LABEL_COLUMNS)}"
            raise DataError(
                f"{where}: a label is needed, found {', '.join(row.columns)} and no value in a "
                f"column {wanted}; name the column of the labels (--label-column)"
            )
        return label


def read_label_map(text: str, labels: Sequence[str]) -> dict[str, str]:
    """The value of `--label-map`, whose names stand for these labels.

    Raises:
        DataError: it is not a list of `FROM=TO`, or names another label.
    """
    try:
        return parse_label_map(text, labels)
    except ValueError as error:
        raise DataError(f"--label-map: {error}") from None


def read_labelled(
    path: Path,
    labels: Sequence[str],
    limit: int = 0,
    *,
    numbered: Sequence[str] = (),
    text_column: str = "",
    label_column: str = "",
    label_map: Mapping[str, str] | None = None,
) -> Labelled:
    """Read a labelled file, as `open_source` reads a file of texts.

    Args:
        path: ends in .tsv, .csv, .jsonl, .ndjson or .json.
        labels: names of the classes; see `LabelReader`.
        limit: rows to read; 0 reads all.
        numbered: classes that the numbers of the file stand for; see `LabelReader`.
        text_column, label_column: by default found by their usual names.
        label_map: what other names in the file stand for.

    Raises:
        DataError: the file can't be read, a column is missing, or a label is unknown.
    """
    reader = LabelReader(labels, label_column, numbered, label_map)
    texts: list[str] = []
    found: list[str] = []
    for where, row in read_rows(open_source(path, text_column), limit):
        found.append(reader.require(row, where))
        texts.append(row.text)
    counts = Counter(found)
    return Labelled(
        texts,
        [labels.index(label) for label in found],
        reader.meanings,
        tuple(label for label in labels if not counts[label]),
    )


def read_texts(path: Path, limit: int = 0, *, text_column: str = "") -> list[str]:
    """Read texts, as `open_source` reads them; rows without a text are left out.

    Raises:
        DataError: the file can't be read, or has no column of texts.
    """
    source = open_source(path, text_column)
    return [row.text for _, row in read_rows(source, limit, skip_empty=True)]


def read_rows(
    source: Source, limit: int = 0, *, skip_empty: bool = False
) -> Iterator[tuple[str, Row]]:
    """Rows whose texts a server would score, each with its position in words.

    Args:
        source: the file.
        limit: rows to read; 0 reads all.
        skip_empty: leave out rows with a blank text.

    Raises:
        DataError: a row can't be read, or there is none.
    """
    count = 0
    for row in source.rows():
        where = f"{source.path}, line {row.start.line + 1}"
        if isinstance(row, BadRow):
            if skip_empty and row.reason == EMPTY:
                continue
            raise DataError(f"{where}: {row.reason}")
        if row.text:
            _check_text(row.text, where)
        yield where, row
        count += 1
        if count == limit:
            return
    if not count:
        raise DataError(f"{source.path} holds no rows")


def _check_text(text: str, where: str) -> None:
    try:
        check_text(0, text)
    except TextError as error:
        reason = error.message.removeprefix("text 0 ")
        raise DataError(f"{where}: the text {reason}") from None


def _meaning(word: str, labels: Sequence[str], numbered: Sequence[str], where: str) -> str:
    """The class that a label of a file stands for: by name, number or beginning."""
    by_name = {label.lower(): label for label in labels}
    if word.lower() in by_name:
        return by_name[word.lower()]
    by_number = dict(enumerate(numbered or labels))
    number = _number(word.lower().removeprefix(_UNNAMED))
    if number is None and len(by_number) == len(_BOOLEANS):
        number = _BOOLEANS.get(word.lower())
    elif not numbered and _number(word) is not None:
        by_number = _own_numbers(labels) or by_number
    if number in by_number:
        return by_number[number]
    if len(word) >= _SHORTEST:
        begun = [label for label in labels if label.lower().startswith(word.lower())]
        if len(begun) == 1:
            return begun[0]
    if _are_several(word, by_name):
        raise DataError(
            f"{where}: {word[:60]!r} holds several labels; a text is judged by one, so keep its "
            "main label"
        )
    shown = ", ".join(labels[:_MOST_SHOWN])
    raise DataError(
        f"{where}: {word[:60]!r} is not a known label; labels are {shown} or "
        f"{min(by_number)} to {max(by_number)}, and --label-map FROM=TO adds names"
    )


def _own_numbers(labels: Sequence[str]) -> dict[int, str]:
    """The class of each number where every name begins with one of its own, as "5 stars" does."""
    numbers = {_number(label.partition(" ")[0]): label for label in labels}
    found = {number: label for number, label in numbers.items() if number is not None}
    return found if len(found) == len(labels) else {}


def _are_several(word: str, names: Container[str]) -> bool:
    """Whether a word is a list, or holds the names of several classes."""
    parts = [part.strip().lower() for part in re.split(r"[,;|]", word)]
    return word.startswith("[") or (len(parts) > 1 and all(part in names for part in parts))


def _number(word: str) -> int | None:
    try:
        number = float(word)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None
