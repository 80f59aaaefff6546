"""Whole reviews: which are set aside, and how they are shortened."""

from __future__ import annotations

import lzma
import random
from pathlib import Path

import pytest

pytest.importorskip("hypothesis", reason="only the tests' own environment has it")

from hypothesis import given
from hypothesis import strategies as st

from lab.training.corpus import Text, read_tsv
from lab.training.reviews import (
    REVIEWS,
    build_reviews,
    excerpt,
    excerpts,
    read_reviews,
    sentences,
    set_aside,
)

ALL = [Text(n % 2, f"review number {n} of a film that I saw on day {n * n}") for n in range(40)]


def test_the_same_reviews_are_set_aside_whatever_their_order() -> None:
    """The choice depends on the texts alone, so anybody can repeat it."""
    held, rest = set_aside(ALL, 10)
    shuffled = random.Random(1).sample(ALL, len(ALL))
    assert held == set_aside(shuffled, 10)[0]
    assert sorted(text.text for text in ALL) == sorted(text.text for text in held + rest)
    assert not {text.text for text in held} & {text.text for text in rest}


def test_a_review_that_repeats_one_set_aside_is_not_trained_on() -> None:
    """IMDB holds some reviews twice, in other case or punctuation."""
    held, _ = set_aside(ALL, 10)
    repeated = [*ALL, Text(1, f"{held[0].text.upper()}!")]
    again, rest = set_aside(repeated, 10)
    letters = {text.text.lower().rstrip("!") for text in again}
    assert not letters & {text.text.lower().rstrip("!") for text in rest}


def test_reviews_that_quote_a_guarded_sentence_are_left_out(tmp_path: Path) -> None:
    """Eight words in a row of SST-2 dev or the held-out sentences are enough."""
    quote = "a film of great beauty and of very little else , alas"
    quoting = Text(1, f"One critic wrote: {quote.capitalize()}")
    rows = "".join(f"{text.label}\t{text.text}\n" for text in [*ALL, quoting])
    with lzma.open(tmp_path / REVIEWS, "wt", encoding="utf-8") as file:
        file.write(f"label\ttext\n{rows}")
    assert [*ALL, quoting] == read_reviews(tmp_path / REVIEWS)
    held = int(quoting in set_aside([*ALL, quoting], 5)[0])
    figures = build_reviews(tmp_path, tmp_path, 5, [Text(0, quote)])
    kept, aside = read_tsv(tmp_path / "reviews.tsv"), read_tsv(tmp_path / "reviews_dev.tsv")
    assert (36 - 1 + held, 5, 1 - held) == (
        figures["reviews"],
        figures["reviews_set_aside"],
        figures["reviews_overlapping"],
    )
    assert quoting not in kept
    assert not set(kept) & set(aside)


@given(
    st.lists(st.text("ab", min_size=1), min_size=1, max_size=60), st.integers(1, 80), st.integers()
)
def test_an_excerpt_has_at_most_so_many_words_of_the_review(
    words: list[str], most: int, seed: int
) -> None:
    """Short reviews stay whole; of long ones exactly `most` words are left, in their order."""
    found = excerpt(" ".join(words), most, random.Random(seed)).split()
    assert min(most, len(words)) == len(found)
    rest = iter(words)
    assert all(word in rest for word in found)


@pytest.mark.parametrize("part", ["start", "end"])
def test_both_ends_of_a_review_are_shown(part: str) -> None:
    """The verdict of a review often stands in its last sentence."""
    words = [f"w{n}" for n in range(100)]
    wanted = words[0] if part == "start" else words[-1]
    shown = [excerpt(" ".join(words), 20, random.Random(seed)).split() for seed in range(50)]
    assert any(wanted in text for text in shown)
    assert any(wanted not in text for text in shown)


def test_excerpts_have_the_label_and_a_length_within_the_limits() -> None:
    """Never more reviews than there are."""
    reviews = [Text(1, " ".join(["word"] * 500))] * 5
    found = excerpts(reviews, 50, (30, 380, 120), random.Random(1))
    assert 5 == len(found)
    assert all(30 <= len(e.text.split()) <= 380 and 1 == e.label for e in found)


def test_sentences_come_from_reviews_one_each_and_are_of_reading_length() -> None:
    """Of a review without a fitting sentence there is none."""
    reviews = ["Short. This one has exactly six words! Too short.", "No.", "w " * 60]
    assert ["This one has exactly six words!"] == sentences(reviews, 9, random.Random(1))
    assert len(sentences(reviews[:1] * 5, 3, random.Random(1))) == 3
