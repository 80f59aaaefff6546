"""Names of labels that differ between models, files and callers."""

from __future__ import annotations

import pytest

from roberta_sentiment.errors import SettingsError
from roberta_sentiment.label_names import label_named, parse_label_map
from roberta_sentiment.settings import Settings

LABELS = ("negative", "positive")
LABEL_MAP = {"LABEL_1": "positive", "positive_sentiment": "POSITIVE", "negative": "positive"}


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("positive", "positive"), ("POSITIVE", "positive"), ("LABEL_1", "positive"),
        ("positive_sentiment", "positive"), ("negative", "positive"), ("pos", None), ("", None),
    ],
)  # fmt: skip
def test_the_map_comes_before_the_label_itself(name: str, label: str | None) -> None:
    """So a model whose columns are named the wrong way round can be judged, too."""
    assert label == label_named(name, LABELS, LABEL_MAP)


def test_labels_that_differ_in_case_only_are_not_guessed() -> None:
    """Only the very name stands for one of them."""
    assert "IT" == label_named("IT", ("it", "IT"), {})
    assert label_named("It", ("it", "IT"), {}) is None


def test_a_map_is_read() -> None:
    """Spaces around names do not matter, nor an empty part at the end."""
    assert {"a b": "c", "d": "e"} == parse_label_map(" a b = c ,d=e,")
    assert {} == parse_label_map("")


def test_a_map_to_a_label_that_is_none_is_refused() -> None:
    """Where the labels are known: it would never fit, unnoticed. Case never matters."""
    assert {"a": "POSITIVE"} == parse_label_map("a=POSITIVE", LABELS)
    many = tuple(f"emotion number {i}" for i in range(40))
    for labels in (LABELS, many):
        with pytest.raises(
            ValueError, match=f"'pos' is not a label; labels are {labels[0]}"
        ) as caught:
            parse_label_map("LABEL_1=pos", labels)
        assert len(str(caught.value)) <= 300


@pytest.mark.parametrize("text", ["a", "a=", "=b", "a=b,a=c"])
def test_a_wrong_map_aborts_startup(text: str) -> None:
    """With the part that is wrong."""
    with pytest.raises(SettingsError, match=r"label_map: '(a|=b)"):
        Settings(label_map=text)
