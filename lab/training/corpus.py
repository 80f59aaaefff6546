"""Stage `data`: read the data sets; keep dev and a held-out part away from training."""

from __future__ import annotations

import csv
import random
from dataclasses import dataclass
from pathlib import Path

from lab.training.stages import Figures
from lab.training.texts import key, natural, shingles
from lab.training.weights import SNIPPETS

UNKNOWN = -1
"""Label of a text that only the teacher labels."""


@dataclass(frozen=True)
class Text:
    """One text with its label: 0 negative, 1 positive, `UNKNOWN` without one."""

    label: int
    text: str


def read_tsv(path: Path) -> list[Text]:
    """Rows of a `label<TAB>text` file with a heading."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        next(rows)
        return [Text(int(label), text) for label, text in rows]


def write_tsv(path: Path, texts: list[Text]) -> None:
    """The inverse of `read_tsv`."""
    lines = [f"{text.label}\t{text.text}\n" for text in texts]
    path.write_text("label\ttext\n" + "".join(lines), encoding="utf-8")


class Guard:
    """Knows the texts that must never be trained on, in every surface form."""

    def __init__(self, texts: list[Text]) -> None:
        self._keys = {key(text.text) for text in texts}
        self._shingles = set().union(*(shingles(text.text) for text in texts))

    def touches(self, text: str) -> bool:
        """Whether `text` equals a guarded text or shares a run of eight words with one."""
        return key(text) in self._keys or not self._shingles.isdisjoint(shingles(text))


class PhraseGuard(Guard):
    """Also refuses phrases of four words or more that are a part of a guarded sentence."""

    def __init__(self, texts: list[Text]) -> None:
        super().__init__(texts)
        self._parts = set().union(*(shingles(text.text, 4) for text in texts))
        self._whole = "|".join(sorted({key(text.text) for text in texts}))

    def touches(self, text: str) -> bool:
        """Whether `text` overlaps a guarded text as a whole, in eight words, or as its phrase."""
        if super().touches(text):
            return True
        runs = shingles(text, 4)
        return bool(runs) and runs <= self._parts and key(text) in self._whole


def _unique(texts: list[Text]) -> list[Text]:
    """First occurrence of each exact text; empty texts dropped."""
    found: dict[str, Text] = {}
    for text in texts:
        if text.text.strip():
            found.setdefault(text.text.strip(), Text(text.label, text.text.strip()))
    return list(found.values())


def _snippets(folder: Path, name: str) -> list[str]:
    lines = (folder / f"{name}_GroundTruth.txt").read_text(encoding="utf-8").splitlines()
    return [line.split("\t", 2)[2].replace("''", '"').strip() for line in lines]


def _unlabelled(folder: Path, known: set[str]) -> tuple[list[Text], int]:
    """Snippets without labels, and how many movie snippets were dropped.

    A movie snippet stays only where its sentence is in the training data (it then adds the written
    form of it): any other may be a sentence of SST's test split.
    """
    movies = _snippets(folder, "movieReviewSnippets")
    kept = [text for text in movies if key(text) in known]
    others = _snippets(folder, "amazonReviewSnippets") + _snippets(folder, "tweets")
    return [Text(UNKNOWN, text) for text in kept + others], len(movies) - len(kept)


def hold_out(data: Path, count: int, seed: int) -> tuple[list[Text], list[Text], int]:
    """Sentences of rt_polarity to judge by, the others, and how many overlap SST-2 dev."""
    sentences = _unique(read_tsv(data / "rt_polarity_train.tsv"))
    guard = Guard(read_tsv(data / "sst2_dev.tsv"))
    random.Random(seed).shuffle(sentences)
    free = [text for text in sentences if not guard.touches(text.text)]
    return free[:count], free[count:], len(sentences) - len(free)


def build_corpus(folder: Path, data: Path, weights: Path, heldout: int, seed: int) -> Figures:
    """Write labelled.tsv, unlabelled.tsv, dev.tsv and heldout.tsv into `folder`."""
    dev = read_tsv(data / "sst2_dev.tsv")
    phrases = read_tsv(data / "sst2_train.tsv")
    held, rest, overlapping = hold_out(data, heldout, seed)
    dev_guard = Guard(dev)
    held_guard = PhraseGuard(held)

    def clean(texts: list[Text]) -> list[Text]:
        guards = (dev_guard, held_guard)
        return [t for t in texts if not any(guard.touches(t.text) for guard in guards)]

    labelled = _unique(clean(phrases) + clean(rest))
    known = {key(text.text) for text in labelled}
    unlabelled, dropped = _unlabelled(weights / SNIPPETS, known)
    unlabelled = _unique(clean(unlabelled))
    for name, texts in (
        ("labelled", labelled),
        ("unlabelled", unlabelled),
        ("dev", dev),
        ("heldout", held),
    ):
        write_tsv(folder / f"{name}.tsv", texts)
    return {
        "labelled": len(labelled),
        "unlabelled": len(unlabelled),
        "heldout": len(held),
        "dev": len(dev),
        "sst2_train_overlapping_dev": sum(dev_guard.touches(t.text) for t in phrases),
        "sst2_train_overlapping_heldout": sum(held_guard.touches(t.text) for t in phrases),
        "rt_polarity_overlapping_dev": overlapping,
        "movie_snippets_dropped": dropped,
        "example": natural(labelled[0].text),
    }
