"""Guardrails, segments, uneven truths and A/A tests: what the report says besides who is better."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ab.data import features
from ab.events import truth
from ab.observations import observe
from ab.record import Event, read_record
from ab.report.analysis import Analysis, analyse
from ab.report.guardrails import State, parse_guardrail
from ab.report.segments import KNOWN, divide, sentences
from ab.report.totals import warnings
from ab.report.verdict import Decision, Finding, judge
from ab.stats.power import TestPlan
from roberta_sentiment.errors import DataError
from tests.ab import records
from tests.ab.records import LABELS
from tests.ab.running import run_ab

MODELS = {"old": 0.9, "new": 0.9}


def analysed(path: Path, events: list[Event], **plan: Any) -> Analysis:
    """The analysis of a record with these lines."""
    path.mkdir(exist_ok=True)
    return analyse(read_record(records.write(path / "r.jsonl", events)), TestPlan(**plan))


def better(n: int = 800) -> list[Event]:
    """The new model is right on 0.95, the old one on 0.75."""
    return records.simulated(n, {"old": 0.75, "new": 0.95}, seed=4)


def of_new(events: list[Event], **changed: Any) -> list[Event]:
    """The same record, in which all answers of the new model are changed."""
    return [{**e, **changed} if e.get("model") == "new" else e for e in events]


@pytest.mark.parametrize(
    ("guardrail", "changed"),
    [
        pytest.param("p99<=300ms", {"latency_s": 0.4}, id="latency"),
        pytest.param("p50 <= 0.1s", {"latency_s": 0.4}, id="median"),
        pytest.param("truncated<=5%", {"truncated": True}, id="truncated"),
        pytest.param("truncated<=A+1%", {"truncated": True}, id="truncated against A"),
        pytest.param("calibration<=0.05", {"scores": {"negative": 0.5, "positive": 0.5}}, id="cal"),
    ],
)
def test_a_broken_guardrail_stops_a_better_model(
    tmp_path: Path, guardrail: str, changed: dict[str, Any]
) -> None:
    """It is more accurate, but the verdict says what it breaks, and a pipeline stops it."""
    events = [{**e, "truncated": False} if e["event"] == "request" else e for e in better()]
    analysis = analysed(tmp_path, of_new(events, **changed), guardrails=(guardrail,))
    verdict = judge(analysis, analysis.comparisons[0])
    assert (Finding.B_WINS, Decision.STOP) == (verdict.finding, verdict.decision)
    assert verdict.headline.startswith("new beats old, by ")
    assert verdict.headline.endswith("But new breaks a guardrail.")
    assert verdict.broken[0].startswith(f"new breaks the guardrail {guardrail}: ")


def test_guardrails_that_are_kept_let_it_go_on(tmp_path: Path) -> None:
    """Kept means shown to be kept; the same record without answers of that kind decides nothing."""
    rules = ("p90<=300ms", "errors<=5%", "recall:negative>=0.8", "accuracy>=A-1%", "truncated<=5%")
    analysis = analysed(tmp_path, better(), guardrails=rules)
    states = {check.text: check.state for check in analysis.comparisons[0].guardrails}
    assert {**dict.fromkeys(rules, State.KEPT), "truncated<=5%": State.OPEN} == states
    assert Decision.GO is judge(analysis, analysis.comparisons[0]).decision


def test_errors_and_the_recall_of_a_class_are_guarded(tmp_path: Path) -> None:
    """A model may win on all texts and lose a class, or fail on every eighth request."""
    events = better()
    for i, event in enumerate(events):
        if event.get("model") == "new" and event["truth"] == "negative":
            event.update(predicted=LABELS[i % 2], scores={"negative": 0.5, "positive": 0.5})
    rules = ("recall:negative>=0.8", "recall:negative>=A-5%")
    checks = analysed(tmp_path, events, guardrails=rules).comparisons[0].guardrails
    assert [State.BROKEN, State.BROKEN] == [check.state for check in checks]
    assert checks[0].figure.startswith("it misses ")
    tried = [records.failed_try("timeout", "new")]
    lost = [records.failure(1000 + i, "timeout", failed=tried) for i in range(50)]
    run, *answers = better()
    lines = [run, *sorted(answers + lost, key=lambda e: int(e["id"]) % 211)]
    checks = analysed(tmp_path / "x", lines, guardrails=("errors<=1%",)).comparisons[0].guardrails
    assert [State.BROKEN] == [check.state for check in checks]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("p42<=3ms", "is not a guardrail; such are p99<=300ms"),
        ("p99<=300", "a latency takes ms or s"),
        ("p99<=A", "a latency takes ms or s"),
        ("errors>=1%", "errors takes <="),
        ("recall:good>=0.8", "labels are negative, positive"),
        ("errors<=150%", "lies between 0 and 1"),
        ("errors<=", "is not a guardrail"),
    ],
)
def test_a_guardrail_that_means_nothing_is_refused(text: str, message: str) -> None:
    """A typo must not guard nothing."""
    with pytest.raises(DataError, match=message):
        parse_guardrail(text, LABELS)


def test_segments_show_where_a_model_is_worse(tmp_path: Path) -> None:
    """The new model is better on short texts and worse on long ones: overall that cancels out."""
    rng, events = np.random.default_rng(5), [records.run_line(3000, MODELS)]
    for i in range(3000):
        long, model = bool(rng.random() < 0.5), ("old", "new")[int(rng.random() < 0.5)]
        accuracy = 0.8 + (model == "new") * (-0.15 if long else 0.15)
        right = bool(rng.random() < accuracy)
        text = features("x" * (300 if long else 30))
        tags = {"tier": "gold" if i % 3 else "free"}
        events.append(records.answer(i, model, right=right, features=text, request_tags=tags))
    analysis = analysed(tmp_path, events, segments=(*KNOWN, "tier"))
    (comparison,) = analysis.comparisons
    found = {(s.dimension, s.name): s for s in comparison.segments}
    assert {"length", "class", "digits", "marks", "symbols", "capitals", "tier"} >= {
        s.dimension for s in comparison.segments
    }
    assert found["length", "0 to 49 characters"].differs
    assert found["length", "200 to 999 characters"].differs
    assert not found["tier", "gold"].differs
    told = sentences(comparison.segments, "old", "new", "holm")
    assert any(s.startswith("For 200 to 999 characters (length) old beats new by 1") for s in told)
    assert any(s.startswith("For 0 to 49 characters (length) new beats old by 1") for s in told)
    (depends,) = [s for s in told if s.startswith("The difference depends on length: for 200 to")]
    assert re.search(r"old beats new by .+, for 0 to 49 characters new beats old by", depends)
    assert set(told) < set(judge(analysis, comparison).reasons)


def test_features_need_no_language() -> None:
    """Kept in the record where the text is not."""
    assert {
        "characters": 9, "words": 2, "digits": 1, "marks": 1, "symbols": 1, "capitals": 1,
    } == features("GUT! 10\U0001f3ac\U0001f3ac")  # fmt: skip
    assert 1 == features("¿Qué?")["marks"]
    assert 0 == features("déjà vu")["capitals"]


def test_a_segment_is_unknown_where_the_record_does_not_say(tmp_path: Path) -> None:
    """Records of an earlier version have no features, and not every answer says truncated."""
    seen = observe(read_record(records.write(tmp_path / "r", better(20)))).answered
    for dimension in ("length", "truncated", "digits", "tier"):
        assert divide(seen, dimension).isna().all()


def test_truths_sought_at_known_rates_are_weighted(tmp_path: Path) -> None:
    """Of texts with a low score all are judged, of the others a tenth; weighted, the accuracy is
    that of all texts again, unweighted it is far too low."""
    rng, events, known = np.random.default_rng(6), [records.run_line(8000, MODELS)], []
    for i in range(8000):
        hard = bool(rng.random() < 0.2)
        model = ("old", "new")[int(rng.random() < 0.5)]
        right = bool(rng.random() < (0.6 if hard else 0.95))
        events.append(records.answer(i, model, right=right, truth=None))
        if rng.random() < (rate := 1.0 if hard else 0.1):
            label = LABELS[i % 2]
            known.append(truth(records.moment(i), f"{i:06d}", label, rate - 1e-9))
    analysis = analysed(tmp_path, [*events, *known])
    for found in analysis.models:
        assert found.right / found.judged < 0.8
        assert 0.88 == pytest.approx(found.accuracy.value, abs=0.03)
    assert (
        analysis.comparisons[0].sequential.now.low < 0 < analysis.comparisons[0].sequential.now.high
    )
    (told,) = [w for w in warnings(analysis) if "have no truth" in w]
    assert "by which they are weighted" in told


def test_truths_that_nobody_chose_at_random_are_warned_of(tmp_path: Path) -> None:
    """Users complain of wrong answers: their truths are no sample."""
    events = better(100)
    for event in events[1:60]:
        event["truth"] = None
    (told,) = [w for w in warnings(analysed(tmp_path, events)) if "have no truth" in w]
    assert "nothing says how the others were chosen" in told
    assert " for old, " in told


def test_several_versions_of_a_model_allow_no_verdict(tmp_path: Path) -> None:
    """A rollout in the middle of the test joins two models under one name."""
    events = better()
    for i, event in enumerate(events[1:]):
        event["tags"] = {"model_version": "v2" if i > 500 and event["model"] == "new" else "v1"}
    analysis = analysed(tmp_path, events)
    verdict = judge(analysis, analysis.comparisons[0])
    assert Decision.INVALID is verdict.decision
    assert "new answered in 2 versions (v1, v2)" in verdict.reasons[0]


def test_answers_of_one_user_are_no_independent_evidence(tmp_path: Path) -> None:
    """40 users of 100 reviews each, whose accuracies vary: the split is that of the users, and the
    interval is wider than for 4,000 independent answers."""
    rng, events = np.random.default_rng(7), [records.run_line(12_000, MODELS)]
    for i in range(12_000):
        user = i % 120
        model = ("old", "new")[user % 2]
        right = bool(rng.random() < (0.95 if user % 4 < 2 else 0.6))
        events.append(records.answer(i, model, right=right, request_tags={"user": str(user)}))
    alone, together = (
        analysed(tmp_path, events if unit else [], unit=unit) for unit in ("user", "")
    )
    assert (60, 60) == alone.split.observed
    assert 12_000 == sum(together.split.observed)
    widths = [a.comparisons[0].sequential.now for a in (alone, together)]
    assert widths[0].high - widths[0].low > 2 * (widths[1].high - widths[1].low)


def test_an_a_a_test_checks_the_set_up(tmp_path: Path) -> None:
    """Two copies of one model: no difference is what must be shown, any is a fault."""
    events = records.simulated(600, {"one": 0.9, "two": 0.9}, seed=3)
    fair = analysed(tmp_path, events, twins=True)
    assert judge(fair, fair.comparisons[0]).headline.startswith("The set-up is fair")
    slow = [{**e, "latency_s": 0.2} if e.get("model") == "two" else e for e in events]
    unfair = analysed(tmp_path / "slow", slow, twins=True)
    verdict = judge(unfair, unfair.comparisons[0])
    assert Decision.INVALID is verdict.decision
    assert "two answers more slowly (Mann-Whitney" in verdict.reasons[0]
    for event in events[1:]:
        event.update(sha256="0" * 64, tags={"model_version": event["model"]})
    differing = analysed(tmp_path / "other", events, twins=True)
    found = " ".join(judge(differing, differing.comparisons[0]).reasons)
    assert "They are not one model: one is version one, two two." in found
    assert "texts that both got differently" in found


def test_the_command_takes_them_all(tmp_path: Path) -> None:
    """Options that reach the page and the terminal."""
    path = records.write(tmp_path / "r.jsonl", of_new(better(), latency_s=0.4))
    options = ["--guardrail", "p95<=300ms", "--segment", "all", "--correction", "fdr_bh"]
    ended = run_ab("report", path, *options, "--html", tmp_path / "r.html")
    assert 0 == ended.code, ended.err
    assert "guardrail p95<=300ms" in ended.out
    assert "new breaks the guardrail p95&lt;=300ms" in (tmp_path / "r.html").read_text()
    wrong = run_ab("report", path, "--correction", "none")
    assert "--correction is 'none'; it is one of holm, fdr_bh" in wrong.err
