"""Values of a caller in a sentence: short, whatever they are."""

from __future__ import annotations

import pytest

from roberta_sentiment.serving import wording


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "null"),
        (True, "true"),
        (3, "the number 3"),
        (0.5, "the number 0.5"),
        (10**5000, "the number with more than 40 digits"),
        ("good", "the text 'good'"),
        ("a" * 41, f"the text '{'a' * 40}...'"),
        ([1], "a list"),
        ({}, "an object"),
        (b"a", "of type bytes"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_is_described(value: object, words: str) -> None:
    """By its kind in JSON."""
    assert words == wording.describe(value)


def test_a_list_shows_its_first_items() -> None:
    """Nested ones, too."""
    assert "[1, [2, 'a'], an object, 4, 5, ...]" == wording.brief([1, [2, "a"], {}, 4, 5, 6])


def test_thousands_of_labels_are_a_few_words() -> None:
    """And long ones are cut."""
    labels = [f"{'x' * 50}{i}" for i in range(3000)]
    assert wording.names(labels).endswith("and 2995 more")
    assert len(wording.names(labels)) < 300
    assert "negative, positive" == wording.names(["negative", "positive"])
