"""Reviews and truths from files, and the plan in which order they are sent."""

from __future__ import annotations

import dataclasses
import hashlib
import random
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from roberta_sentiment.errors import DataError
from roberta_sentiment.tools.labelled import LabelReader, read_rows
from roberta_sentiment.tools.rows import ID_COLUMN, Row, find_column, open_source

UNIT = "unit"
"""Column of the reviews, and tag of their requests, by which a hash router chooses."""


@dataclasses.dataclass(frozen=True)
class Review:
    """A text to send.

    Attributes:
        id: unique in its file: the column `id`, else the row number from 0.
        text: the review.
        label: its truth; None when it is not known yet.
        unit: of which all reviews are to meet one model, such as a user: the column `unit`.
    """

    id: str
    text: str
    label: str | None
    unit: str | None = None


@dataclasses.dataclass(frozen=True)
class Truth:
    """A truth that came later.

    Attributes:
        label: one of the labels.
        id: of the review; None when it is found by its text.
        text: the review; None when the file has no texts.
        rate: probability with which it was chosen to be judged; None when the file does not say.
    """

    label: str
    id: str | None
    text: str | None
    rate: float | None = None

    @property
    def sha256(self) -> str | None:
        """Of the text."""
        return None if self.text is None else fingerprint(self.text)


def read_reviews(
    path: Path,
    labels: Sequence[str],
    *,
    text_column: str = "",
    label_column: str = "",
    label_map: Mapping[str, str] | None = None,
) -> list[Review]:
    """Read reviews, as `roberta_sentiment evaluate` reads them; a label may be missing.

    Args:
        path: ends in .tsv, .csv, .jsonl, .ndjson or .txt; a column `id` is kept.
        labels: names of the classes.
        text_column, label_column: by default found by their usual names.
        label_map: what other names stand for.

    Raises:
        DataError: a row is malformed, or an id occurs twice.
    """
    reader = LabelReader(labels, label_column, label_map=label_map)
    reviews = []
    for number, (where, row) in enumerate(read_rows(open_source(path, text_column))):
        identity, label = _cell(row, ID_COLUMN) or f"{number:06d}", reader.read(row, where)
        reviews.append(Review(identity, row.text, label, _cell(row, UNIT)))
    if len({review.id for review in reviews}) < len(reviews):
        raise DataError(f"{path}: an id occurs twice; ids must be unique")
    return reviews


def read_truths(
    path: Path,
    labels: Sequence[str],
    *,
    text_column: str = "",
    label_column: str = "",
    label_map: Mapping[str, str] | None = None,
) -> list[Truth]:
    """Read truths that came later; rows without a label are left out.

    Args:
        path: like a file of reviews, with a label and `id` or a text (or both), and perhaps `rate`,
            as `ab label` writes it.
        labels, text_column, label_column, label_map: as for `read_reviews`.

    Raises:
        DataError: a row is malformed, or none has a label.
    """
    reader = LabelReader(labels, label_column, label_map=label_map)
    truths = []
    for where, row in read_rows(open_source(path, text_column, needs_text=False)):
        label, identity, text = reader.read(row, where), _cell(row, ID_COLUMN), row.text or None
        if identity is None and text is None:
            raise DataError(f"{where}: `label` and `id` or `text` are needed")
        if label is not None:
            truths.append(Truth(label, identity, text, _rate(row, where)))
    if not truths:
        raise DataError(f"{path}: no row has a label; `label` and `id` or `text` are needed")
    return truths


def _rate(row: Row, where: str) -> float | None:
    value = row.columns.get(find_column(row.columns, ["rate"]))
    if value in (None, ""):
        return None
    try:
        rate = float(str(value))
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1:
        raise DataError(f"{where}: rate is {value!r}; it is a probability above 0")
    return rate


def features(text: str) -> dict[str, float]:
    """What any language has, kept where the text is not: characters, words, and 1 or 0 for digits,
    question or exclamation marks, symbols such as emoji, and mostly capital letters."""
    letters = [c for c in text if c.isalpha()]
    return {
        "characters": len(text),
        "words": len(text.split()),
        "digits": int(any(c.isdigit() for c in text)),
        "marks": int(any(c in "!?\uff01\uff1f\u00a1\u00bf\u061f" for c in text)),
        "symbols": int(any(unicodedata.category(c) == "So" for c in text)),
        "capitals": int(2 * sum(c.isupper() for c in letters) > len(letters)),
    }


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


def _cell(row: Row, column: str) -> str | None:
    value = row.columns.get(find_column(row.columns, [column]))
    return str(value) if value not in (None, "") else None
