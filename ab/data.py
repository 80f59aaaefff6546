"""Reviews and truths from files, and the plan in which order they are sent."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ab.errors import DataError


@dataclasses.dataclass(frozen=True)
class Review:
    """A text to send.

    Attributes:
        id: unique in its file: the column `id`, else the row number from 0.
        text: the review.
        label: its truth; None when it is not known yet.
    """

    id: str
    text: str
    label: str | None


@dataclasses.dataclass(frozen=True)
class Truth:
    """A truth that came later.

    Attributes:
        label: one of the labels.
        id: of the review; None when it is found by its text.
        sha256: of the text; None when the file has no texts.
        text: the review; None when the file has no texts.
    """

    label: str
    id: str | None
    sha256: str | None
    text: str | None


def read_reviews(path: Path, labels: Sequence[str]) -> list[Review]:
    """Read reviews from a .tsv, .csv or .jsonl file.

    Args:
        path: columns or keys `text`, optionally `label` and `id`. TSV knows no quotes.
        labels: names of the classes; a label in the file is a name or an index.

    Raises:
        DataError: a row is malformed, or an id occurs twice.
    """
    reviews = []
    for number, row in enumerate(_rows(path)):
        where = f"{path.name}, row {number + 1}"
        if not row.get("text"):
            raise DataError(f"{where}: there is no text; a column or key `text` is needed")
        label = _label(row.get("label"), labels, where)
        reviews.append(Review(row.get("id") or f"{number:06d}", row["text"], label))
    if not reviews:
        raise DataError(f"{path.name} holds no reviews")
    if len({review.id for review in reviews}) < len(reviews):
        raise DataError(f"{path.name}: an id occurs twice; ids must be unique")
    return reviews


def read_truths(path: Path, labels: Sequence[str]) -> list[Truth]:
    """Read truths that came later, from a .tsv, .csv or .jsonl file.

    Args:
        path: columns or keys `label` and `id` or `text` (or both).
        labels: names of the classes.

    Raises:
        DataError: a row is malformed.
    """
    truths = []
    for number, row in enumerate(_rows(path)):
        where = f"{path.name}, row {number + 1}"
        label = _label(row.get("label"), labels, where)
        identity, text = row.get("id") or None, row.get("text") or None
        if label is None or (identity is None and text is None):
            raise DataError(f"{where}: `label` and `id` or `text` are needed")
        truths.append(Truth(label, identity, fingerprint(text) if text else None, text))
    return truths


def fingerprint(text: str) -> str:
    """SHA-256 of a text. A short text can be guessed from it: it hides nothing from a search."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def file_fingerprint(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def shuffled(reviews: Sequence[Review], seed: int, limit: int | None = None) -> list[Review]:
    """The reviews in an order that depends on the seed only, at most `limit` of them."""
    order = list(reviews)
    random.Random(seed).shuffle(order)  # noqa: S311  reproducible, not secret
    return order[:limit]


def _rows(path: Path) -> Iterator[Mapping[str, str]]:
    readers = {".tsv": _separated, ".csv": _separated, ".jsonl": _json_lines}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path.name}: a file ending in .tsv, .csv or .jsonl is needed")
    try:
        yield from reader(path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path.name} can't be read: {error}") from error


def _separated(path: Path) -> Iterator[Mapping[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        if path.suffix.lower() == ".tsv":
            rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        else:
            rows = csv.DictReader(file)
        for row in rows:
            if None in row or None in row.values():
                raise DataError(f"{path.name}, line {rows.line_num}: not as many columns as names")
            yield row


def _json_lines(path: Path) -> Iterator[Mapping[str, str]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise DataError(f"{path.name}, line {number}: not a JSON object")
            yield {key: "" if value is None else str(value) for key, value in row.items()}


def _label(raw: str | None, labels: Sequence[str], where: str) -> str | None:
    """A label by name, in any case, or by index; None for an empty one."""
    value = (raw or "").strip()
    if not value:
        return None
    names = {label.casefold(): label for label in labels}
    if value.casefold() in names:
        return names[value.casefold()]
    if value.isdecimal() and int(value) < len(labels):
        return labels[int(value)]
    raise DataError(
        f"{where}: the label is {value[:40]!r}; one of {', '.join(labels)} "
        f"or an index from 0 to {len(labels) - 1} is needed"
    )
