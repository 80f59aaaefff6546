"""The rehearsal: models and shares of the manifest, and the counters that must agree."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from ab.errors import USAGE
from ab.manifest import read_ab_test
from ab.record import read_record
from rehearsal.__main__ import main
from rehearsal.counters import compare, confusion_of_feedback
from rehearsal.graph import read_graph
from roberta_sentiment.errors import DataError
from scripts.local_service import OIP_COMMAND
from tests import ROOT
from tests.ab.running import Ended, run_ab

MANIFEST = ROOT / "deploy" / "ab-test.yaml"
INVALID = 4


def rehearse(*arguments: str | Path) -> Ended:
    """`python -m rehearsal ARGUMENTS`, in this process."""
    return run_ab(*arguments, main=main)


def test_models_and_shares_come_from_the_manifest() -> None:
    """The rehearsal tests what would be deployed."""
    test = read_ab_test(MANIFEST)
    node = read_graph(test.predictor, test.node)
    assert ("ab", "0.5") == (node.name, node.ratio_a)
    assert [("roberta", 0.5), ("lexicon", 0.5)] == [(m.name, m.share) for m in test.graph.models]
    assert "roberta-sentiment-lexicon:0.1.0" == node.children[1].image
    assert {9000: "roberta", 9500: "roberta", 9001: "lexicon", 9501: "lexicon"} == test.graph.ports


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('value: "0.5"', 'value: "70"', "ratioA is '70'"),
        ("- name: ratioA", "- name: ratio", "must have the one parameter ratioA"),
        ("- name: ratioA", '- {name: x, type: INT, value: "1"}\n      - name: ratioA',
         "must have the one parameter ratioA"),
        ("RANDOM_ABTEST", "RANDOM_ABTST", "holds 0 RANDOM_ABTEST nodes"),
        ("kind: SeldonDeployment", "kind: [", "is not a SeldonDeployment"),
    ],
    ids=["over 1", "another name", "two parameters", "no router", "not YAML"],
)  # fmt: skip
def test_a_node_that_would_split_otherwise_is_refused(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    """Seldon takes these without a word and splits in another way than the file says."""
    text = MANIFEST.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "manifest.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(message)):
        read_ab_test(path)


def test_a_counter_that_differs_is_found() -> None:
    """Two workers of one model are summed, and one feedback more than recorded shows."""
    page = "".join(
        f'sentiment_feedback_total{{truth="{t}",prediction="{p}",worker_id="{w}"}} {n}\n'
        for t, p, w, n in [("a", "a", 1, 2.0), ("a", "a", 2, 1.0), ("a", "b", 1, 1.0)]
    )
    head = "# TYPE sentiment_feedback_total counter\n"
    line = {"event": "feedback", "state": "answered", "model": "m", "truth": "a", "predicted": "a"}
    events = [{**line, "id": str(i)} for i in range(3)]
    cells = compare(events, {"m": head + page}, feedback=True)
    assert [("m", ("a", "a"), 3, 3), ("m", ("a", "b"), 0, 1)] == cells


def test_answers_are_counted_where_there_is_no_feedback() -> None:
    """In V2 the models' own count of requests shows whether the attribution is right."""
    page = "# TYPE sentiment_answered_requests_total counter\nsentiment_answered_requests_total 2\n"
    events = [{"event": "request", "model": "m", "predicted": p} for p in ("a", "b", None)]
    cells = compare(events, {"m": page, "n": ""}, feedback=False)
    assert [("m", ("answered",), 2, 2), ("n", ("answered",), 0, 0)] == cells


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--manifest", "missing.yaml"), "missing.yaml is not a SeldonDeployment that can be read"),
        (("--limit", "0"), "Invalid value for '--limit'"),
    ],
    ids=["no manifest", "a wrong option"],
)
def test_wrong_usage_is_never_taken_for_a_worse_model(
    tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    """The exit codes are those of the gate, where 1 takes the challenger back."""
    run = rehearse(*options, "--output", tmp_path)
    assert USAGE == run.code
    assert message in run.err


def test_a_model_that_does_not_start_is_no_worse_one(tmp_path: Path) -> None:
    """Nothing was compared, so that no verdict is possible."""
    text = MANIFEST.read_text(encoding="utf-8")
    path = tmp_path / "manifest.yaml"
    path.write_text(text.replace("name: max_texts", "name: most_texts"), encoding="utf-8")
    run = rehearse("--manifest", path, "--output", tmp_path)
    assert INVALID == run.code
    assert "error: roberta does not start:" in run.err


@pytest.mark.long
def test_a_whole_rehearsal(tmp_path: Path) -> None:
    """`make ab`: real microservices, feedback along the route, a report, and equal counters."""
    reviews = ROOT / "rehearsal" / "reviews.tsv"
    run = rehearse("--output", tmp_path, "--limit", "60", "--reviews", reviews)
    assert f"gate: exit code {run.code}; roberta: " in run.out, run.out + run.err
    assert run.code in (0, 3)
    assert "The counters on both metrics ports equal the record." in run.out
    assert "roberta" in (tmp_path / "report.html").read_text(encoding="utf-8")
    events = read_record(tmp_path / "record.jsonl").events
    tables = confusion_of_feedback(events)
    assert {"roberta", "lexicon"} == set(tables)
    assert 60 == sum(table.total() for table in tables.values())
    assert {"requestPath"} == {e["by"] for e in events if e["event"] == "request"}


@pytest.mark.long
@pytest.mark.skipif(not OIP_COMMAND.exists(), reason="make serve-oip installs MLServer")
@pytest.mark.parametrize("transport", ["--no-grpc", "--grpc"])
def test_a_whole_rehearsal_in_v2(tmp_path: Path, transport: str) -> None:
    """`make ab ARGS="--protocol v2"`: MLServer behind the stand-in, judged by the record."""
    reviews = ROOT / "rehearsal" / "reviews.tsv"
    given = ("--protocol", "v2", transport, "--output", tmp_path, "--reviews", reviews)
    run = rehearse(*given, "--limit", "60")
    assert f"gate: exit code {run.code}; short: " in run.out, run.out + run.err
    assert "The counters on both metrics ports equal the record." in run.out
    events = read_record(tmp_path / "record.jsonl").events
    requests = [e for e in events if e["event"] == "request"]
    assert {"whole", "short"} == {e["model"] for e in requests}
    assert {"tags"} == {e["by"] for e in requests}


def test_make_ab_is_the_rehearsal() -> None:
    """The command of the README runs what is tested here, and shows the one for a pipeline."""
    run = subprocess.run(
        ["make", "--dry-run", "ab"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "-m rehearsal" in run.stdout
    assert "\t@$(RUN) -m rehearsal" not in (ROOT / "Makefile").read_text(encoding="utf-8")
