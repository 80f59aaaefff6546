"""`ab label`: texts for the annotator, and their truths read back."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from ab.data import fingerprint
from ab.errors import USAGE, AnalysisError
from ab.observations import observe
from ab.record import Event, read_record
from tests.ab import records
from tests.ab.records import LABELS
from tests.ab.running import run_ab

N = 60


def two_records(path: Path, *, keep: bool = True) -> tuple[Path, Path]:
    """Two models on 60 texts without a truth; they differ on the first 20, of which A is wrong on
    15; both are right on the others."""
    found = []
    for name, wrong in (("a", range(15)), ("b", range(15, 20))):
        events: list[Event] = [records.run_line(N, {name: 1.0})]
        for i in range(N):
            text = f"review {i}"
            given: dict[str, Any] = {"text": text if keep else None, "sha256": fingerprint(text)}
            events.append(records.answer(i, name, right=i not in wrong, truth=None, **given))
        found.append(records.write(path / f"{name}.jsonl", events))
    return found[0], found[1]


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open(encoding="utf-8", newline="")))


def annotate(path: Path, *, skip: int = 0) -> None:
    """What an annotator writes who is always right; the first `skip` rows stay empty."""
    rows = rows_of(path)
    for row in rows[skip:]:
        row["label"] = LABELS[int(row["id"]) % 2]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_disagreements_are_enough_for_the_difference(tmp_path: Path) -> None:
    """All 20 disagreements and 10 of the rest: the difference is 10 of 60 texts, not 10 of 30, and
    the accuracies are those of all texts."""
    a, b = two_records(tmp_path)
    task = tmp_path / "task.csv"
    made = run_ab("label", a, b, "--number", "30", "--random", "10", "--csv", task)
    assert f"python -m ab truth a.jsonl {task.name} --no-feedback" in made.out
    rows = rows_of(task)
    assert {"1": 20, "0.25": 10} == {
        rate: sum(row["rate"] == rate for row in rows) for rate in ("1", "0.25")
    }
    assert ["id", "text", "label", "rate"] == list(rows[0])
    assert sorted(row["id"] for row in rows) != [row["id"] for row in rows]
    annotate(task)
    told = run_ab("truth", a, task, "--no-feedback")
    assert "30 truths matched, 0 fit no answer: 30 recorded" == told.err
    shown = run_ab("compare", a, b, "--json", tmp_path / "c.json")
    document = json.loads((tmp_path / "c.json").read_text())
    assert 10 / 60 == pytest.approx(document["difference"]["value"])
    assert 45 / 60 == pytest.approx(document["accuracy_a"]["value"])
    assert 55 / 60 == pytest.approx(document["accuracy_b"]["value"])
    assert "nothing says how they were chosen" not in shown.out


def test_only_disagreements_tell_no_accuracy(tmp_path: Path) -> None:
    """Nobody knows how often both are wrong together."""
    a, b = two_records(tmp_path)
    task = tmp_path / "task.csv"
    run_ab("label", a, b, "--csv", task)
    assert 20 == len(rows_of(task))
    annotate(task, skip=4)
    assert "16 truths matched" in run_ab("truth", a, task, "--no-feedback").err
    run_ab("compare", a, b, "--json", tmp_path / "c.json")
    document = json.loads((tmp_path / "c.json").read_text())
    assert document["accuracy_a"]["value"] is None
    assert 20 / 60 * 0.3 < document["difference"]["value"] < 20 / 60 * 0.7


def test_truths_that_nobody_chose_are_warned_of(tmp_path: Path) -> None:
    """Without a rate they may be those that somebody complained of."""
    a, b = two_records(tmp_path)
    truths = tmp_path / "truths.tsv"
    truths.write_text("id\tlabel\n000003\tpositive\n", encoding="utf-8")
    run_ab("truth", a, truths, "--no-feedback")
    assert "Of 20 disagreements 1 have a truth, and nothing says" in run_ab("compare", a, b).out


def test_one_record_gives_a_random_part(tmp_path: Path) -> None:
    """Each model of a split saw other texts; the texts come from a file where none are kept."""
    a, _ = two_records(tmp_path, keep=False)
    task, reviews = tmp_path / "task.csv", tmp_path / "reviews.txt"
    refused = run_ab("label", a, "--csv", task)
    assert (USAGE, True) == (refused.code, "does not keep the text" in refused.err)
    reviews.write_text("".join(f"review {i}\n" for i in range(N)), encoding="utf-8")
    assert 0 == run_ab("label", a, "--number", "15", "--csv", task, "--reviews", reviews).code
    assert ["0.25"] * 15 == [row["rate"] for row in rows_of(task)]
    annotate(task)
    run_ab("truth", a, task, "--no-feedback")
    seen = observe(read_record(a)).answered
    assert {0.25} == set(seen.rate[seen.truth.notna()])


def test_the_terminal_asks_and_records_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By number or name; whoever stops keeps what was given."""
    a, b = two_records(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("1\nnegative\nskip\nwhat\n0\nquit\n"))
    told = run_ab("label", a, b, "--number", "10")
    assert "3 of 10 texts labelled" in told.out
    given = [e for e in read_record(a).events if e["event"] == "truth"]
    assert [("positive", 0.5), ("negative", 0.5), ("negative", 0.5)] == [
        (e["label"], e["rate"]) for e in given
    ]
    again = run_ab("label", a, b, "--number", "100", "--csv", tmp_path / "rest.csv")
    assert 0 == again.code
    assert 17 == len(rows_of(tmp_path / "rest.csv"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": "another"}, "is another text in the file than in the record"),
        ({"rate": "2"}, "rate is '2'; it is a probability above 0"),
        ({"label": "fine"}, "'fine' is not a known label"),
        ({"label": ""}, "no row has a label"),
    ],
)
def test_what_comes_back_is_checked(tmp_path: Path, change: dict[str, str], message: str) -> None:
    """A shifted row would label everything wrongly."""
    a, b = two_records(tmp_path)
    task = tmp_path / "task.csv"
    run_ab("label", a, b, "--number", "1", "--csv", task)
    annotate(task)
    (row,) = rows_of(task)
    with task.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow({**row, **change})
    told = run_ab("truth", a, task, "--no-feedback")
    assert USAGE == told.code
    assert message in told.err


def test_nothing_to_label_is_said() -> None:
    """Every text has its truth, or the models agree."""
    from ab.label import choose
    from ab.observations import table

    assert [] == choose([(table([], {}), 10)], {}, 1)
    with pytest.raises(AnalysisError, match="does not keep the text"):
        choose([(table([records.answer(1, "a", text=None)], {}), 1)], {}, 1)
