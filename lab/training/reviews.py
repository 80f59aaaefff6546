"""Whole reviews (Maas et al., ACL 2011): training texts, and some set aside to select by."""

from __future__ import annotations

import hashlib
import lzma
import random
import re
from collections.abc import Callable
from pathlib import Path

from lab.training.corpus import Guard, Text, write_tsv
from lab.training.stages import Figures
from lab.training.texts import key

REVIEWS = "imdb_train.tsv.xz"
UNLABELLED = "imdb_unlabelled.txt.xz"
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def read_reviews(path: Path) -> list[Text]:
    """Rows of an xz file of `label<TAB>text` lines with a heading."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        next(file)
        rows = [line.rstrip("\n").split("\t", 1) for line in file]
    return [Text(int(label), text) for label, text in rows]


def read_unlabelled(path: Path) -> list[str]:
    """Lines of an xz file, one review each."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        return [line.strip() for line in file if line.strip()]


def _digest(review: Text) -> str:
    return hashlib.sha256(review.text.encode()).hexdigest()


def set_aside(reviews: list[Text], count: int) -> tuple[list[Text], list[Text]]:
    """The `count` reviews whose texts have the smallest sha256, and those that differ from them."""
    ordered = sorted(reviews, key=_digest)
    held, rest = ordered[:count], ordered[count:]
    known = {key(review.text) for review in held}
    return held, [review for review in rest if key(review.text) not in known]


def build_reviews(folder: Path, data: Path, count: int, guarded: list[Text]) -> Figures:
    """Write reviews.tsv and reviews_dev.tsv; a review that quotes a guarded text is left out."""
    held, rest = set_aside(read_reviews(data / REVIEWS), count)
    guard = Guard(guarded)
    kept = [review for review in rest if not guard.touches(review.text)]
    write_tsv(folder / "reviews.tsv", kept)
    write_tsv(folder / "reviews_dev.tsv", held)
    return {
        "reviews": len(kept),
        "reviews_set_aside": len(held),
        "reviews_overlapping": len(rest) - len(kept),
    }


def _start(words: list[str], count: int, draw: random.Random) -> list[str]:
    return words[:count]


def _end(words: list[str], count: int, draw: random.Random) -> list[str]:
    return words[-count:]


def _both_ends(words: list[str], count: int, draw: random.Random) -> list[str]:
    return words[: count - count // 2] + words[len(words) - count // 2 :]


def _run(words: list[str], count: int, draw: random.Random) -> list[str]:
    at = draw.randint(0, len(words) - count)
    return words[at : at + count]


_CUTS: tuple[Callable[[list[str], int, random.Random], list[str]], ...] = (
    _start,
    _end,
    _end,
    _both_ends,
    _both_ends,
    _run,
)
"""Ways to shorten a review; its ends say most about its label."""


def excerpt(text: str, most: int, draw: random.Random) -> str:
    """At most `most` words of a review: its start, end, both, or a run from anywhere in it."""
    words = text.split()
    if len(words) <= most:
        return text
    return " ".join(draw.choice(_CUTS)(words, most, draw))


def excerpts(
    reviews: list[Text], count: int, words: tuple[int, int, int], draw: random.Random
) -> list[Text]:
    """Parts of `count` reviews under the label of the whole.

    Args:
        words: least, most and most frequent number of words of a part.
    """
    return [
        Text(review.label, excerpt(review.text, round(draw.triangular(*words)), draw))
        for review in draw.sample(reviews, min(len(reviews), count))
    ]


def sentences(reviews: list[str], count: int, draw: random.Random) -> list[str]:
    """One sentence of 5 to 40 words from each of `count` reviews, where there is one."""
    found = []
    for review in draw.sample(reviews, min(len(reviews), count)):
        fitting = [s for s in _SENTENCE.split(review) if 5 <= len(s.split()) <= 40]
        if fitting:
            found.append(draw.choice(fitting).strip())
    return found
