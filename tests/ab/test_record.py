"""The record: append-only, one writer, and each review counted once when it is read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ab.data import Review, fingerprint, read_reviews, read_truths, shuffled
from ab.errors import USAGE, RecordError
from ab.events import truth
from ab.observations import observe
from ab.record import Journal, read_record
from roberta_sentiment.errors import DataError
from tests.ab.records import LABELS, answer, run_line
from tests.ab.running import run_ab

SHARES = {"a": 0.5, "b": 0.5}


def write(path: Path, *events: dict[str, Any]) -> Path:
    with Journal(path) as journal:
        for event in events:
            journal.append(event)
    return path


def test_a_duplicated_answer_counts_once(tmp_path: Path) -> None:
    """Two lines of one review, even of two models: the first counts, and both are reported."""
    lines = [answer(1, "a"), answer(2, "b"), answer(1, "b", right=False)]
    found = observe(read_record(write(tmp_path / "r", run_line(2, SHARES), *lines)))
    assert [("000001", "a"), ("000002", "b")] == [
        (o.id, o.model) for o in found.answered.itertuples()
    ]
    assert ("000001",) == found.totals.duplicated


def test_a_lost_review_that_is_answered_later_is_not_lost(tmp_path: Path) -> None:
    """A resumed run may ask again; the answer counts, once."""
    lost = {**answer(1, None), "outcome": "timeout"}
    found = observe(read_record(write(tmp_path / "r", run_line(2, SHARES), lost, answer(1, "a"))))
    assert ((), 1, 1) == (found.totals.lost, len(found.answered), found.totals.unsent)


def test_two_truths_count_as_none(tmp_path: Path) -> None:
    """Nobody knows which is right, so the review judges no model."""
    late = [truth("t", "000001", "negative"), truth("t", "000002", "negative")]
    lines = [run_line(2, SHARES), answer(1, "a"), answer(2, "b"), *late]
    found = observe(read_record(write(tmp_path / "r", *lines)))
    assert ("000001",) == found.totals.contradicted
    assert [None, "negative"] == [o.truth for o in found.answered.itertuples()]


def test_two_runs_in_one_file_are_refused(tmp_path: Path) -> None:
    """Joined records would be one experiment with two designs."""
    path = write(tmp_path / "r", run_line(1, SHARES), run_line(1, SHARES, run="r2"))
    with pytest.raises(RecordError, match="2 runs"):
        observe(read_record(path))


def test_a_record_has_one_writer(tmp_path: Path) -> None:
    """Two runs at once would send every review twice."""
    with Journal(tmp_path / "r"), pytest.raises(RecordError, match="in use by another run"):
        Journal(tmp_path / "r")


def test_torn_and_damaged_lines_are_distinguished(tmp_path: Path) -> None:
    """A crash explains a line cut short before a restart; nothing explains one in the middle."""
    path = write(tmp_path / "r", run_line(2, SHARES), answer(1, "a"))
    before = path.read_bytes()
    with path.open("ab") as file:
        file.write(b'{"event": "requ')
    write(path, answer(2, "b"))
    assert path.read_bytes().startswith(before)
    content = read_record(path)
    assert (1, ()) == (content.torn, content.damaged)
    path.write_bytes(path.read_bytes().replace(b'"id": "000001"', b'"id": 000001"'))
    assert (2,) == read_record(path).damaged


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    """Its lines may mean something else."""
    path = write(tmp_path / "r", {**run_line(1, SHARES), "format": 3})
    with pytest.raises(RecordError, match="has format 3; this program reads 2"):
        read_record(path)


@pytest.mark.parametrize("suffix", ["tsv", "csv", "jsonl"])
def test_reviews_are_read_from_every_form(tmp_path: Path, suffix: str) -> None:
    """Labels by name or index, texts with quotes, commas and emoji."""
    rows = {
        "tsv": 'text\tlabel\n"good", 🎬\tPositive\nbad\t0\n',
        "csv": 'text,label\n"""good"", 🎬",Positive\nbad,0\n',
        "jsonl": '{"text": "\\"good\\", 🎬", "label": "positive"}\n{"text": "bad", "label": 0}\n',
    }
    path = tmp_path / f"reviews.{suffix}"
    path.write_text(rows[suffix], encoding="utf-8")
    found = [(r.id, r.text, r.label) for r in read_reviews(path, LABELS)]
    assert [("000000", '"good", 🎬', "positive"), ("000001", "bad", "negative")] == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "text\tlabel\ngood\tfine\n",
            "line 2: 'fine' is not a known label; labels are negative, positive",
        ),
        ("text\tlabel\ngood\t2\n", "or 0 to 1"),
        ("text\tlabel\ngood\n", "line 2: 1 column, expected 2"),
        ("words\tlabel\ngood\t1\n", "no column named text"),
        ("id\ttext\n1\ta\n1\tb\n", "an id occurs twice"),
        ("text\n", "holds no rows"),
    ],
)
def test_wrong_reviews_are_reported_by_row(tmp_path: Path, text: str, message: str) -> None:
    """A run that stops in the middle for a typo in row 9,000 wastes a day."""
    path = tmp_path / "reviews.tsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_reviews(path, LABELS)


def test_the_order_depends_on_the_seed_only(tmp_path: Path) -> None:
    """A resumed run must plan the same reviews, also under a limit."""
    path = tmp_path / "reviews.tsv"
    path.write_text("text\n" + "".join(f"t{i}\n" for i in range(50)), encoding="utf-8")
    reviews = read_reviews(path, LABELS)
    assert shuffled(reviews, 3, 10) == shuffled(list(reviews), 3, 10)
    assert shuffled(reviews, 3)[:10] == shuffled(reviews, 3, 10)
    assert shuffled(reviews, 3) != shuffled(reviews, 4)


def test_a_truth_needs_something_to_find_its_review(tmp_path: Path) -> None:
    """A label alone belongs to nobody."""
    path = tmp_path / "truths.tsv"
    path.write_text("label\tnote\n1\tx\n", encoding="utf-8")
    with pytest.raises(DataError, match="`label` and `id` or `text` are needed"):
        read_truths(path, LABELS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("a.csv", "\ufefflabel,text\npos,good\n", id="byte order mark"),
        pytest.param("a.csv", "label;text\n1.0;good\n", id="semicolons"),
        pytest.param("a.csv", "Sentiment,Review\nTrue,good\n", id="other names"),
        pytest.param("a.ndjson", '{"text": "good", "label": "LABEL_1"}\n', id="ndjson"),
        pytest.param("a.tsv", "1\tgood\n", id="no header"),
    ],
)
def test_what_evaluate_reads_is_read(tmp_path: Path, name: str, content: str) -> None:
    """One reader for both programs; a file is not prepared twice."""
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    assert [Review("000000", "good", "positive")] == read_reviews(path, LABELS)


def test_texts_without_labels_and_long_ones_are_reviews(tmp_path: Path) -> None:
    """Truths may come later; a field of Python's csv module ends at 131,072 characters."""
    path = tmp_path / "reviews.csv"
    long = "good " * 40_000 + "film"
    path.write_text(f"id,text,label\n7,{long},\n8,bad,0\n", encoding="utf-8")
    assert [Review("7", long, None), Review("8", "bad", "negative")] == read_reviews(path, LABELS)
    (tmp_path / "reviews.txt").write_text("good\nbad\n", encoding="utf-8")
    found = read_reviews(tmp_path / "reviews.txt", LABELS)
    assert [("good", None), ("bad", None)] == [(review.text, review.label) for review in found]


def test_columns_may_be_named(tmp_path: Path) -> None:
    """For reviews and for truths, whose texts may be missing."""
    path = tmp_path / "a.csv"
    path.write_text("id,body,stars\n7,good,pos\n", encoding="utf-8")
    named: dict[str, Any] = {"text_column": "body", "label_column": "stars"}
    assert [Review("7", "good", "positive")] == read_reviews(path, LABELS, **named)
    (found,) = read_truths(path, LABELS, label_column="stars")
    assert ("positive", "7", None) == (found.label, found.id, found.text)
    (found,) = read_truths(path, LABELS, **named)
    assert ("7", "good", fingerprint("good")) == (found.id, found.text, found.sha256)
    path.write_text("id;label\n7;0\n", encoding="utf-8")
    (found,) = read_truths(path, LABELS)
    assert ("negative", "7", None) == (found.label, found.id, found.text)


@pytest.mark.parametrize("column", ["text", "label"])
@pytest.mark.parametrize("name", ["run", "compare", "truth"])
def test_each_command_passes_the_names_of_the_columns_on(
    tmp_path: Path, name: str, column: str
) -> None:
    """An option that does nothing is worse than none."""
    path, record = tmp_path / "a.csv", tmp_path / "record"
    path.write_text("id,text,label\n7,good,pos\n", encoding="utf-8")
    write(record, run_line(1, SHARES), answer(7, "a"))
    commands: dict[str, list[str | Path]] = {
        "run": [
            path, "--endpoint", "http://127.0.0.1:1", "--record", tmp_path / "new", "--models=a",
        ],
        "compare": ["http://127.0.0.1:1", "http://127.0.0.1:1", "--reviews", path, "--tries", "1"],
        "truth": [record, path, "--no-feedback"],
    }  # fmt: skip
    option = [f"--{column}-column", "stars"]
    if (name, column) in (("run", "label"), ("compare", "label")):
        path.write_text("id,text,label,stars\n7,good,pos,none\n", encoding="utf-8")
    ended = run_ab(name, *commands[name], *option)
    assert USAGE == ended.code, ended.out
    assert re.search("'stars'|'none' is not a known label|`label` and", ended.err)
