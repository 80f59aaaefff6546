"""Labelled files: which class a label of the file stands for, and what is said about it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from roberta_sentiment.errors import DataError
from roberta_sentiment.tools.labelled import read_labelled, read_texts

TWO = ("negative", "positive")
THREE = ("negative", "neutral", "positive")


def write(path: Path, *labels: object) -> Path:
    """A file with a text for each label."""
    path.write_text("label,text\n" + "".join(f"{label},some text\n" for label in labels))
    return path


@pytest.mark.parametrize(
    ("word", "index"),
    [
        ("positive", 1),
        ("Positive", 1),
        ("1", 1),
        ("1.0", 1),
        ("pos", 1),
        ("NEG", 0),
        ("0", 0),
        ("LABEL_1", 1),
        ("label_0", 0),
        ("True", 1),
        ("false", 0),
    ],
)
def test_names_numbers_and_beginnings_are_labels(tmp_path: Path, word: str, index: int) -> None:
    """Public data has all of them."""
    assert [index] == read_labelled(write(tmp_path / "a.csv", word), TWO).labels


@pytest.mark.parametrize(
    "word", ["2", "-1", "1.5", "po", "ne", "good", "nan", "inf", "LABEL_2", "LABEL_"]
)
def test_any_other_word_is_refused(tmp_path: Path, word: str) -> None:
    """A guess would be a wrong figure."""
    with pytest.raises(DataError, match="is not a known label"):
        read_labelled(write(tmp_path / "a.csv", word), TWO)


def test_numbers_are_said_and_a_class_that_never_occurs_is_missed(tmp_path: Path) -> None:
    """SST-2's 1 is positive, but the second class of this model is neutral."""
    data = read_labelled(write(tmp_path / "a.csv", 0, 1, 1), THREE)
    assert [0, 1, 1] == data.labels
    said = " ".join(data.remarks())
    assert "0 is negative, 1 is neutral" in said
    assert "no text has the label positive" in said
    assert "--labels" in said


def test_the_user_says_what_numbers_stand_for(tmp_path: Path) -> None:
    """The way out that the remark names."""
    path = write(tmp_path / "a.csv", 0, 1)
    assert [0, 2] == read_labelled(path, THREE, numbered=("negative", "positive")).labels
    with pytest.raises(DataError, match="--labels names 'bad'; labels are negative, neutral"):
        read_labelled(path, THREE, numbered=("bad", "good"))
    with pytest.raises(DataError, match="or 0 to 1"):
        read_labelled(write(tmp_path / "b.csv", 2), THREE, numbered=("negative", "positive"))


STARS = ("1 star", "2 stars", "3 stars", "4 stars", "5 stars")


@pytest.mark.parametrize(
    ("labels", "words", "indices"),
    [
        pytest.param(STARS, (1, 5, 3.0, "2 stars", "LABEL_4"), [0, 4, 2, 1, 4], id="stars"),
        pytest.param(("-1", "0", "1"), (0, -1, "1.0"), [1, 0, 2], id="signs"),
        pytest.param(("2 bad", "4 good"), (4, 2), [1, 0], id="steps"),
        pytest.param(("1 star", "good"), (1, 0), [1, 0], id="not all"),
        pytest.param(("1 star", "1 point"), (1, 0), [1, 0], id="one number twice"),
    ],
)
def test_a_number_is_the_one_that_the_class_is_named_by(
    tmp_path: Path, labels: tuple[str, ...], words: tuple[object, ...], indices: list[int]
) -> None:
    """A review with 1 star was taken for class 1, which is "2 stars"."""
    assert indices == read_labelled(write(tmp_path / "a.csv", *words), labels).labels


def test_a_rating_out_of_range_is_refused(tmp_path: Path) -> None:
    """The sentence gives the numbers of the names."""
    with pytest.raises(DataError, match="or 1 to 5"):
        read_labelled(write(tmp_path / "a.csv", 0), STARS)


@pytest.mark.parametrize(
    "label", [["negative", "positive"], [1, 0], [1], "negative,positive", "Positive | neutral"]
)
def test_several_labels_of_a_text_are_refused(tmp_path: Path, label: object) -> None:
    """Accuracy is of one label a text; which one that is, only the user can say."""
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "good", "label": label}))
    with pytest.raises(
        DataError, match="several labels; a text is judged by one, so keep its main"
    ):
        read_labelled(tmp_path / "a.jsonl", THREE)


def test_plain_names_need_no_remark(tmp_path: Path) -> None:
    """Nothing was guessed."""
    assert [] == read_labelled(write(tmp_path / "a.csv", *TWO), TWO).remarks()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("a.csv", "\ufefflabel,text\n1,good\n", id="byte order mark"),
        pytest.param("a.ndjson", '{"text": "good", "label": 1}\n', id="ndjson"),
        pytest.param("a.jsonl", '\ufeff{"text": "good", "label": 1.0}\n', id="jsonl"),
        pytest.param("a.csv", f"text,label\n{'good ' * 40_000},1\n", id="a long field"),
        pytest.param("a.csv", f"label,text\n1,{'good ' * 40_000}\n", id="a long last field"),
        pytest.param("a.tsv", "1\tgood\n", id="no header"),
        pytest.param("a.csv", 'Sentiment,Review\n1,"good\nfilm"\n', id="names and a line break"),
    ],
)
def test_what_score_reads_is_read(tmp_path: Path, name: str, content: str) -> None:
    """One reader for both."""
    (tmp_path / name).write_text(content)
    assert [1] == read_labelled(tmp_path / name, TWO).labels


@pytest.mark.parametrize(
    ("line", "words"),
    [
        pytest.param({"text": " ", "label": 1}, "line 2: the text is empty", id="blank"),
        pytest.param({"text": "a\0b", "label": 1}, "line 2: the text holds a NUL", id="NUL"),
        pytest.param({"text": 1, "label": 1}, "line 2: text is int", id="no string"),
        pytest.param({"text": "good"}, "line 2: a label is needed", id="no label"),
        pytest.param({"label": 1}, "line 2: no 'text' in it", id="no text"),
    ],
)
def test_a_text_that_the_server_would_refuse_is_named(
    tmp_path: Path, line: dict[str, object], words: str
) -> None:
    """A figure over the rest would not be the figure that was asked for."""
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ({"text": "a", "label": 1}, line)))
    with pytest.raises(DataError, match=words):
        read_labelled(path, TWO)


@pytest.mark.parametrize("read", [read_texts, lambda path: read_labelled(path, TWO)])
def test_no_rows_are_no_data(tmp_path: Path, read: Callable[[Path], object]) -> None:
    """A mean over nothing is no figure."""
    (tmp_path / "a.csv").write_text("label,text\n")
    with pytest.raises(DataError, match="holds no rows"):
        read(tmp_path / "a.csv")


def test_calibration_leaves_blank_rows_out(tmp_path: Path) -> None:
    """Plain text ends in one, often."""
    (tmp_path / "a.txt").write_text("good\n\n  \nbad\n")
    assert ["good", "bad"] == read_texts(tmp_path / "a.txt")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("label;text\n1;good, but long\n0;bad\n", id="semicolons"),
        pytest.param('"label";"text"\n1;"good, but long"\n0;bad\n', id="quoted"),
        pytest.param("label\ttext\n1\tgood, but long\n0\tbad\n", id="tabs"),
        pytest.param('label,text\n1,"good, but long"\n0,bad\n', id="commas"),
        pytest.param("\ufeff\n\nlabel;text\r\n1;good, but long\r\n0;bad\r\n", id="mark"),
    ],
)
def test_cells_lie_between_commas_semicolons_or_tabs(tmp_path: Path, content: str) -> None:
    """Spreadsheets of half of Europe write semicolons."""
    (tmp_path / "a.csv").write_text(content, newline="")
    data = read_labelled(tmp_path / "a.csv", TWO)
    assert (["good, but long", "bad"], [1, 0]) == (data.texts, data.labels)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_the_columns_may_be_named(tmp_path: Path, name: str) -> None:
    """Each company has its own names; the usual ones beside them are left alone then."""
    row = {"text": "x", "label": "no", "body": "good", "stars": "pos"}
    table = f"{','.join(row)}\n{','.join(row.values())}\n"
    (tmp_path / name).write_text(table if name == "a.csv" else json.dumps(row))
    data = read_labelled(tmp_path / name, TWO, text_column="body", label_column="stars")
    assert (["good"], [1]) == (data.texts, data.labels)
    assert ["good"] == read_texts(tmp_path / name, text_column="body")
    with pytest.raises(DataError, match=r"column 'rating'; .*\(--label-column\)"):
        read_labelled(tmp_path / name, TWO, label_column="rating")


@pytest.mark.parametrize(
    "line", ['{"text": "a", "label": ""}', '{"text": "a", "label": null}', '{"text": "a"}']
)
def test_a_row_without_a_label_is_named(tmp_path: Path, line: str) -> None:
    """It can judge no model."""
    (tmp_path / "a.jsonl").write_text(line)
    with pytest.raises(DataError, match="line 1: a label is needed"):
        read_labelled(tmp_path / "a.jsonl", TWO)


def test_a_table_without_texts_by_their_names_is_not_taken_for_one_without_names(
    tmp_path: Path,
) -> None:
    """Its heading is a heading; "label" and "body" would be scored as a row."""
    (tmp_path / "a.tsv").write_text("label\tbody\n1\tgood\n")
    with pytest.raises(DataError, match=r"no column named text.*'body'.*--text-column"):
        read_texts(tmp_path / "a.tsv")


@pytest.mark.parametrize("word", ["true", "False"])
def test_truths_stand_for_two_classes_only(tmp_path: Path, word: str) -> None:
    """With a neutral class they are a guess."""
    with pytest.raises(DataError, match="is not a known label"):
        read_labelled(write(tmp_path / "a.csv", word), THREE)
