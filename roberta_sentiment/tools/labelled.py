"""Read files of texts with or without labels: TSV, CSV, JSON lines or plain text."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from roberta_sentiment.errors import DataError, TextError
from roberta_sentiment.text.check import check_text
from roberta_sentiment.tools.rows import EMPTY, LABEL_COLUMNS, BadRow, Row, open_source

_SHORTEST = 3
"""Letters of an abbreviated label, such as "pos"."""
_MOST_SHOWN = 20
_UNNAMED = "label_"
"""How transformers calls a class without a name, before its number."""
_TRUTHS = {"false": 0, "true": 1}


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Texts with their labels.

    Attributes:
        texts: n texts.
        labels: n indices of classes.
        meanings: for each label of the file the class it was taken for, by name.
        unused: classes of the model that no text has.
    """

    texts: list[str]
    labels: list[int]
    meanings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    unused: tuple[str, ...] = ()

    def remarks(self) -> list[str]:
        """What the user should know of the labels: how they were read, and what is missing."""
        said = []
        taken = {given: name for given, name in self.meanings.items() if given != name}
        if taken:
            pairs = ", ".join(f"{given} is {name}" for given, name in sorted(taken.items()))
            said.append(f"labels of the file: {pairs}")
        if self.unused:
            hint = "; if a number stands for another class, name the classes in order (--labels)"
            numbers = any(
                _number(given.lower().removeprefix(_UNNAMED)) is not None for given in taken
            )
            names = " or ".join(self.unused)
            said.append(f"no text has the label {names}{hint if numbers else ''}")
        return said


def read_labelled(
    path: Path,
    labels: Sequence[str],
    limit: int = 0,
    *,
    numbered: Sequence[str] = (),
) -> Labelled:
    """Read a labelled file, as `open_source` reads a file of texts.

    The column of the labels is found by its name (`label`, `sentiment`, ...).

    Args:
        path: ends in .tsv, .csv, .jsonl, .ndjson or .json.
        labels: names of the classes; a label is a name, its beginning, a number, LABEL_0 and so on,
            or, of two classes, true or false.
        limit: rows to read; 0 reads all.
        numbered: names of the classes that the numbers 0, 1, ... of the file stand for; by default
            all, in the model's order.

    Raises:
        DataError: the file can't be read, a column is missing, or a label is unknown.
    """
    unknown = [name for name in numbered if name not in labels]
    if unknown:
        raise DataError(f"--labels names {unknown[0]!r}; labels are {', '.join(labels)}")
    texts: list[str] = []
    given: list[str] = []
    meanings: dict[str, str] = {}
    for row in _rows(path, limit):
        label = _pick(row.columns, LABEL_COLUMNS)
        if label is None:
            raise DataError(
                f"{_place(path, row)}: a label is needed, found {', '.join(row.columns)}; "
                f"name its column {LABEL_COLUMNS[0]}"
            )
        word = str(label).strip()
        if word not in meanings:
            meanings[word] = _meaning(word, labels, numbered or labels, _place(path, row))
        texts.append(row.text)
        given.append(word)
    counts = Counter(meanings[word] for word in given)
    return Labelled(
        texts,
        [labels.index(meanings[word]) for word in given],
        meanings,
        tuple(label for label in labels if not counts[label]),
    )


def read_texts(path: Path, limit: int = 0) -> list[str]:
    """Read texts, as `open_source` reads them; rows without a text are left out.

    Raises:
        DataError: the file can't be read, or has no column of texts.
    """
    return [row.text for row in _rows(path, limit, skip_empty=True)]


def _rows(path: Path, limit: int, *, skip_empty: bool = False) -> Iterator[Row]:
    count = 0
    for row in open_source(path).rows():
        if isinstance(row, BadRow):
            if skip_empty and row.reason == EMPTY:
                continue
            raise DataError(f"{_place(path, row)}: {row.reason}")
        try:
            check_text(0, row.text)
        except TextError as error:
            reason = error.message.removeprefix("text 0 ")
            raise DataError(f"{_place(path, row)}: the text {reason}") from None
        yield row
        count += 1
        if count == limit:
            return
    if not count:
        raise DataError(f"{path} holds no rows")


def _place(path: Path, row: Row | BadRow) -> str:
    return f"{path}, line {row.start.line + 1}"


def _pick(columns: Mapping[str, Any], names: Sequence[str]) -> Any:
    lowered = {name.strip().lower(): value for name, value in columns.items()}
    return next((lowered[name] for name in names if lowered.get(name) is not None), None)


def _meaning(word: str, labels: Sequence[str], numbered: Sequence[str], place: str) -> str:
    """The class that a label of a file stands for: by name, number or beginning."""
    by_name = {label.lower(): label for label in labels}
    if word.lower() in by_name:
        return by_name[word.lower()]
    number = _number(word.lower().removeprefix(_UNNAMED))
    if number is None and len(numbered) == len(_TRUTHS):
        number = _TRUTHS.get(word.lower())
    if number is not None and number < len(numbered):
        return numbered[number]
    if len(word) >= _SHORTEST:
        begun = [label for label in labels if label.lower().startswith(word.lower())]
        if len(begun) == 1:
            return begun[0]
    shown = ", ".join(labels[:_MOST_SHOWN])
    raise DataError(
        f"{place}: {word[:60]!r} is no label of this model; labels are {shown} or 0 to "
        f"{len(numbered) - 1}"
    )


def _number(word: str) -> int | None:
    try:
        number = float(word)
    except ValueError:
        return None
    return int(number) if number.is_integer() and number >= 0 else None
