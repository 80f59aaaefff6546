"""Two models on the same texts: from records whose content is known, and from real services."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ab.compare.analysis import PairedComparison, compare
from ab.compare.answers import ModelAnswers, read_answers
from ab.compare.page import render
from ab.compare.show import as_json, rows, verdict
from ab.errors import USAGE, AnalysisError
from ab.record import Event
from ab.stats.paired import Pairs
from baselines.lexicon.model import Calibration, LexiconClassifier
from roberta_sentiment.classifier import Classifier
from tests.ab import records
from tests.ab.running import run_ab
from tests.service import Service, free_ports

REVIEWS = [
    ("negative", "bad film, but a wonderful cast"),
    ("negative", "a dull and lifeless mess"),
    ("negative", "Great cast, wasted."),
    ("positive", "a warm, funny and moving story"),
    ("positive", "I have seen it three times and still notice something new."),
    ("positive", "not bad"),
    ("positive", "one of the best films of the year"),
    ("negative", "the worst two hours of my life"),
]


def side(path: Path, name: str, wrong: Sequence[int], n: int = 30, **changed: Any) -> ModelAnswers:
    """A record of one model that errs on these reviews."""
    events: list[Event] = [records.run_line(n, {name: 1.0})]
    events += [records.answer(i, name, right=i not in wrong, **changed) for i in range(n)]
    return read_answers(records.write(path / f"{name}.jsonl", events))


def compared(a: ModelAnswers, b: ModelAnswers, **texts: str) -> PairedComparison:
    """With the usual terms."""
    return compare(a, b, texts, alpha=0.05, margin=0.01)


def test_each_text_is_counted_by_who_was_right(tmp_path: Path) -> None:
    """A errs on 9 texts, B on 2, both on one of them: McNemar's exact p of 1 against 8 is 0.039."""
    found = compared(side(tmp_path, "a", range(9)), side(tmp_path, "b", [8, 9]))
    assert Pairs(both=20, only_a=1, only_b=8, neither=1) == found.pairs
    assert 2 * (1 + 9) / 2**9 == pytest.approx(found.p_value)
    assert 7 / 30 == pytest.approx(found.difference.value)
    assert verdict(found).startswith("b beats a on these texts, by ")


def test_the_texts_they_disagree_on_are_reported(tmp_path: Path) -> None:
    """People learn from them more than from any figure."""
    found = compared(side(tmp_path, "a", [3]), side(tmp_path, "b", [4]))
    assert [
        ("000003", "positive", "negative", "positive"),
        ("000004", "negative", "negative", "positive"),
    ] == [(d["id"], d["truth"], d["a"], d["b"]) for d in found.disagreements]
    assert ["review 3", "review 4"] == [d["text"] for d in found.disagreements]
    assert verdict(found).startswith("No difference between b and a is shown")


def test_a_difference_at_any_look_lies_within_its_interval(tmp_path: Path) -> None:
    """B errs on none of the first 60 texts and A on all, then A on none and B on 30: what the last
    texts point to is left to the interval for one look."""
    found = compared(side(tmp_path, "a", range(60), 200), side(tmp_path, "b", range(60, 90), 200))
    estimate = as_json(found)["estimate"]
    assert found.difference.value == pytest.approx(0.15)
    assert 0.15 < estimate["value"] == estimate["low"] < estimate["high"]
    assert any(text.endswith("(the nearest that all looks allow)") for _, text in rows(found))
    shared = compared(side(tmp_path, "c", range(5)), side(tmp_path, "d", range(4, 7)))
    assert as_json(shared)["estimate"]["value"] == shared.difference.value
    assert not any("nearest" in text for _, text in rows(shared))


def test_texts_missing_in_the_records_come_from_the_reviews(tmp_path: Path) -> None:
    """`ab run` keeps no texts unless asked."""
    a, b = side(tmp_path, "a", [3], text=None), side(tmp_path, "b", [], text=None)
    found = compared(a, b, **{"000003": "from the file"})
    assert ["from the file"] == [d["text"] for d in found.disagreements]


def test_a_text_that_only_one_answered_counts_for_nothing(tmp_path: Path) -> None:
    """Otherwise a model could win by answering the easy ones."""
    found = compared(side(tmp_path, "a", [], 30), side(tmp_path, "b", range(25, 32), 32))
    assert 30 == found.texts == found.pairs.n
    assert ("000030", "000031") == found.only_one
    assert (2, 0) == (found.missing_a, found.missing_b)
    assert "It holds for the texts that both answered" in verdict(found)


def test_without_truths_only_disagreement_is_known(tmp_path: Path) -> None:
    """It is what a shadow test has on its first day."""
    a, b = side(tmp_path, "a", [3], truth=None), side(tmp_path, "b", [], truth=None)
    found = compared(a, b)
    assert (0, 1) == (found.pairs.n, len(found.disagreements))
    assert "No truth is known: b and a disagree on 1 of 30 texts." == verdict(found)


def test_the_same_id_must_be_the_same_text(tmp_path: Path) -> None:
    """Row numbers of two different files look alike."""
    a, b = side(tmp_path, "a", []), side(tmp_path, "b", [], sha256="f" * 64)
    with pytest.raises(AnalysisError, match="review 000000 is another text for a than for b"):
        compared(a, b)


def test_different_truths_are_refused(tmp_path: Path) -> None:
    """One of the records is wrong, and nobody knows which."""
    with pytest.raises(AnalysisError, match="has the truth negative for a, positive for b"):
        compared(side(tmp_path, "a", []), side(tmp_path, "b", [], truth="positive"))


def test_a_record_of_a_split_is_refused(tmp_path: Path) -> None:
    """Its models saw different texts; that is what `ab report` is for."""
    path = records.write(tmp_path / "split.jsonl", records.simulated(20, {"a": 0.5, "b": 0.5}))
    with pytest.raises(AnalysisError, match=r"answers of 2 models \(a, b\)"):
        read_answers(path)


@pytest.fixture
def reviews_file(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.tsv"
    path.write_text("label\ttext\n" + "".join(f"{label}\t{text}\n" for label, text in REVIEWS))
    return path


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_two_services_are_asked_for_every_text(
    tmp_path: Path,
    service: Service,
    lexicon_service: Service,
    reviews_file: Path,
    default_classifier: Classifier,
    scheme: str,
) -> None:
    """The result must be what both models say inside Python."""
    ports = [s.http if scheme == "http" else s.grpc for s in (lexicon_service, service)]
    urls = [f"{scheme}://127.0.0.1:{port}" for port in ports]
    files = ("--json", tmp_path / "c.json", "--html", tmp_path / "c.html")
    result = run_ab("compare", *urls, "--reviews", reviews_file, *files)
    assert 0 == result.code, result.err
    document = json.loads((tmp_path / "c.json").read_text())

    texts = [text for _, text in REVIEWS]
    lexicon = LexiconClassifier(Calibration.read()).classify(texts).best
    default = default_classifier.classify(texts).best
    expected = {
        (text, truth, a, b)
        for (truth, text), a, b in zip(REVIEWS, lexicon, default, strict=True)
        if a != b
    }
    assert expected
    assert expected == {(d["text"], d["truth"], d["a"], d["b"]) for d in document["disagreements"]}
    truths = [truth for truth, _ in REVIEWS]
    both = sum(a == b == t for a, b, t in zip(lexicon, default, truths, strict=True))
    assert both == document["pairs"]["both"]
    assert len(REVIEWS) == document["texts"]
    assert document["verdict"] in result.out
    assert document["a"] != document["b"]

    page = html.unescape((tmp_path / "c.html").read_text())
    assert document["verdict"] in page
    assert all(f'<td data-head="text">{text}</td>' in page for text, *_ in expected)
    assert 2 == page.count("<svg")
    assert not re.search(r'src=|href="[^#]|url\(http|<script', page)


def test_a_text_is_no_part_of_the_page_s_code(tmp_path: Path) -> None:
    """Reviews are written by people unknown to us."""
    a = side(tmp_path, "a", [3], text="<script>alert(1)</script>")
    b = side(tmp_path, "b", [], text="<script>alert(1)</script>")
    page = render(compared(a, b))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_a_dead_endpoint_is_named_in_a_sentence(tmp_path: Path, service: Service) -> None:
    """Not after a thousand reviews, and not as a stack trace."""
    path = tmp_path / "many.jsonl"
    path.write_text("".join(json.dumps({"text": f"film {i}"}) + "\n" for i in range(200)))
    dead = f"http://127.0.0.1:{free_ports(1)[0]}"
    alive = f"http://127.0.0.1:{service.http}"
    result = run_ab("compare", alive, dead, "--reviews", path, "--tries", "1")
    assert USAGE == result.code
    assert result.err.startswith(f"error: {dead}: 20 requests in a row had no answer")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["http://h:1", "r.jsonl"], "two endpoints or two records"),
        (["http://h:1", "http://h:2"], "name the reviews"),
        (["a", "b", "--reviews", "no.pdf"], "no.pdf must end in one of .csv, .tsv"),
    ],
    ids=["mixed", "no reviews", "not a table"],
)
def test_wrong_arguments_are_reported_before_any_work(arguments: list[str], message: str) -> None:
    """One sentence each."""
    result = run_ab("compare", *arguments)
    assert USAGE == result.code
    assert message in result.err
