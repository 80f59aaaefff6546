"""`ab truth`: truths that come days after the answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from ab.data import fingerprint
from ab.errors import USAGE
from ab.record import read_record
from rehearsal.counters import confusion_of_feedback
from tests.ab.fake import FakeEndpoint, Script
from tests.ab.running import Ended, execute, lines, once, options, run_ab, seen, write_reviews

N = 6


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    return write_reviews(tmp_path / "unlabelled.tsv", N, labelled=False)


def add_truths(record: Path, truths: Path, *more: str) -> Ended:
    return run_ab("truth", record, truths, *more)


@pytest.mark.parametrize("by", ["id", "text"])
def test_truths_are_matched_and_sent_once(reviews: Path, by: str) -> None:
    """By id or by text; telling them a second time changes nothing."""
    truths = reviews.with_name("truths.jsonl")
    keys = [f'"{by}": "{i if by == "id" else f"review {i}"}"' for i in range(N)]
    truths.write_text("".join(f'{{{key}, "label": 1}}\n' for key in keys), encoding="utf-8")
    scripts = {} if by == "text" else {"review 9": Script()}
    with FakeEndpoint(scripts) as endpoint:
        given = options(reviews, endpoint.url, keep_texts=True)
        execute(given)
        assert not endpoint.feedbacks
        assert all(o.truth is None for o in seen(given).answered.itertuples())
        assert 0 == add_truths(given.record, truths).code
        again = add_truths(given.record, truths)
        assert "6 truths matched, 0 fit no answer: nothing to do" in again.err
    assert once(N) == endpoint.feedbacks
    assert {"positive"} == {o.truth for o in seen(given).answered.itertuples()}
    table = confusion_of_feedback(read_record(given.record).events)
    assert {("positive", "negative"): 3} == table["a"]
    assert {("positive", "positive"): 3} == table["b"]


def test_a_lost_feedback_stays_uncertain(reviews: Path) -> None:
    """Also a late truth is sent at most once."""
    truths = reviews.with_name("truths.tsv")
    truths.write_text("id\tlabel\n3\tnegative\n77\tnegative\n", encoding="utf-8")
    with FakeEndpoint({"review 3": Script(feedback=("lost",))}) as endpoint:
        given = options(reviews, endpoint.url, keep_texts=True)
        execute(given)
        first = add_truths(given.record, truths)
        add_truths(given.record, truths)
    assert "1 truths matched, 1 fit no answer: 1 feedback unknown, 1 recorded" in first.err
    assert 1 == endpoint.feedbacks["review 3"]
    assert ("3",) == seen(given).totals.uncertain_feedback


def test_a_contradicting_truth_is_refused(reviews: Path) -> None:
    """A truth that changes would be counted under both; the record keeps the first."""
    truths = reviews.with_name("truths.tsv")
    with FakeEndpoint() as endpoint:
        given = options(reviews, endpoint.url)
        execute(given)
        truths.write_text("id\tlabel\n3\tnegative\n", encoding="utf-8")
        assert 0 == add_truths(given.record, truths, "--no-feedback").code
        truths.write_text("id\tlabel\n2\tnegative\n3\tpositive\n", encoding="utf-8")
        refused = add_truths(given.record, truths)
    assert USAGE == refused.code
    assert "review 3 is negative already, and now positive; nothing was sent" in refused.err
    assert ["3"] == list(lines(given, "truth"))
    assert not endpoint.feedbacks


def test_a_missing_record_is_not_made(tmp_path: Path) -> None:
    """A mistyped name must not leave an empty record behind."""
    run = add_truths(tmp_path / "nothing.jsonl", tmp_path / "truths.tsv")
    assert (USAGE, False) == (run.code, (tmp_path / "nothing.jsonl").exists())


def test_a_checksum_finds_the_text_without_keeping_it() -> None:
    """The record holds SHA-256 of the UTF-8 text, as documented."""
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest == fingerprint("abc")
