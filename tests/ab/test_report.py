"""What the report says of records whose content is known."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ab.attribution import Model
from ab.errors import USAGE, AnalysisError, RecordError
from ab.events import mark, truth
from ab.record import Content, Event, read_record
from ab.report.analysis import Analysis, analyse
from ab.report.rows import split_rows
from ab.report.totals import warnings
from ab.report.verdict import Decision, Finding, Verdict, judge
from ab.stats.power import TestPlan
from roberta_sentiment.errors import DataError
from tests.ab import records
from tests.ab.running import run_ab
from tests.ab.stats.test_interval import drifting

MODELS = {"lexicon": 0.5, "roberta": 0.5}


@pytest.fixture
def analysed(tmp_path: Path) -> Callable[..., Analysis]:
    """Writes a record and analyses it."""

    def run(events: list[Event], plan: TestPlan | None = None, *models: Model) -> Analysis:
        path = records.write(tmp_path / "record.jsonl", events)
        return analyse(read_record(path), plan or TestPlan(), models)

    return run


def plain() -> list[Event]:
    """40 answers, lexicon and roberta in turn; lexicon errs on every fifth of its own."""
    events = [records.run_line(40, MODELS)]
    for i in range(40):
        model = "roberta" if i % 2 else "lexicon"
        events.append(records.answer(i, model, right=i % 10 != 0))
    return events


def test_figures_of_a_small_record_are_those_worked_out_by_hand(
    analysed: Callable[..., Analysis],
) -> None:
    """20 answers each; lexicon errs on 0, 10, 20, 30, whose truth is negative."""
    lexicon, roberta = analysed(plain()).models
    assert (20, 20, 16) == (lexicon.answers, lexicon.judged, lexicon.right)
    assert 0.8 == lexicon.accuracy.value
    assert lexicon.quality
    assert roberta.quality
    assert ((16, 4), (0, 0)) == lexicon.quality.confusion
    assert ((0, 0), (0, 20)) == roberta.quality.confusion
    assert 0.1 == pytest.approx(lexicon.quality.calibration_error)  # |0.8 - 0.9|
    assert (4 * 0.81 + 16 * 0.01) / 20 == pytest.approx(lexicon.quality.brier)
    assert 0.013 == pytest.approx(roberta.latency_s[50].value)


def test_a_duplicate_is_counted_once_and_the_first_answer_counts(
    analysed: Callable[..., Analysis],
) -> None:
    """An endpoint that is asked twice must not vote twice."""
    events = plain()
    again = records.answer(7, "lexicon", right=False)
    analysis = analysed([*events, again, events[3], events[3]])
    assert 40 == analysis.totals.requests == analysis.totals.answered
    assert ("000002", "000007") == tuple(sorted(analysis.totals.duplicated))
    assert (20, 20) == tuple(m.answers for m in analysis.models)
    assert 20 == analysis.models[1].right
    assert 40 == analysis.comparisons[0].sequential.now.n
    (warning,) = warnings(analysis)
    assert "each: is recorded with more than one answer; the first one counts, once" in warning


def test_a_lost_answer_counts_for_no_model(analysed: Callable[..., Analysis]) -> None:
    """A request without an answer says nothing about accuracy, but it must not vanish."""
    lost = [records.failure(40, "timeout", tries=3, repeated=2), records.failure(41, "failed")]
    analysis = analysed(plain() + lost)
    totals = analysis.totals
    assert (42, 40, ("000040", "000041")) == (totals.requests, totals.answered, totals.lost)
    assert {"timeout": 1, "failed": 1} == totals.errors
    assert ("000040",) == totals.repeated
    assert (20, 20) == analysis.split.observed
    assert "2 reviews (000040, 000041), each: got no answer and counts for no model." in warnings(
        analysis
    )


def test_a_late_answer_is_counted_once_and_named(analysed: Callable[..., Analysis]) -> None:
    """Leaving slow answers out would flatter the slow model."""
    late = records.answer(41, "roberta", late=True, latency_s=3.0, waited_s=3.0)
    analysis = analysed([*plain(), late])
    assert ("000041",) == analysis.totals.late
    assert (0, 1) == tuple(m.late for m in analysis.models)
    assert (20, 21) == tuple(m.answers for m in analysis.models)
    slowest = analysis.models[1].latency_s[99].value
    assert slowest is not None
    assert slowest > 2.0
    assert "Review 000041 was answered after the time limit; it counts, once." in warnings(analysis)


def test_an_estimate_lies_within_its_interval(tmp_path: Path) -> None:
    """The answers by now may point out of what all looks together allow: then the nearest lead
    inside is shown, and a sentence says so; the interval for one look has its own."""
    from_b, right = drifting(1, 1100)
    events = [records.run_line(1100, MODELS)]
    events += [
        records.answer(i, "roberta" if b else "lexicon", right=r)
        for i, (b, r) in enumerate(zip(from_b, right, strict=True))
    ]
    page, figures = tmp_path / "r.html", tmp_path / "r.json"
    path = records.write(tmp_path / "record.jsonl", events)
    shown = run_ab("report", path, "--html", page, "--json", figures)
    (found,) = json.loads(figures.read_text(encoding="utf-8"))["comparisons"]
    estimate, now = found["estimate"], found["sequential"]["now"]
    assert found["difference"]["value"] < now["low"] == estimate["value"] == estimate["low"]
    assert found["difference"]["low"] <= found["difference"]["value"] <= found["difference"]["high"]
    lead, observed = 100 * now["low"], 100 * found["difference"]["value"]
    for text in (shown.out, page.read_text(encoding="utf-8")):
        assert f"So far roberta is right {lead:.1f} percentage points more often" in text
        assert "nearest lead which all looks together allow" in text
        assert f"the answers by now show {observed:+.1f} points." in text


def test_a_lost_and_then_answered_request_is_not_lost(analysed: Callable[..., Analysis]) -> None:
    """A run resumed with --retry-lost draws again, so the answer counts for no model."""
    events = [*plain(), records.failure(40, "cut"), records.answer(40, "lexicon")]
    totals = analysed(events).totals
    assert (41, 40, ()) == (totals.requests, totals.answered, totals.lost)
    assert (("000040",), {}) == (totals.retried, totals.errors)
    assert {"cut": 1} == totals.unknown_errors


def failing(n: int, model: str | None, *, answered_by: str | None = None) -> list[Event]:
    """Of n reviews every second is drawn for roberta, which fails on all but its first three."""
    events = [records.run_line(n, MODELS)]
    for i in range(n):
        if i % 2 == 0 or i < 6:
            events.append(records.answer(i, "roberta" if i % 2 else "lexicon"))
        elif answered_by is None:
            events.append(records.failure(i, "cut", failed=[records.failed_try("cut", model)]))
        else:
            failed = [records.failed_try("cut", model)]
            events.append(records.answer(i, answered_by, tries=2, repeated=1, failed=failed))
    return events


@pytest.mark.parametrize("answered_by", ["lexicon", None], ids=["answered-later", "lost"])
def test_texts_do_not_move_from_a_failing_model_to_the_healthy_one(
    analysed: Callable[..., Analysis], answered_by: str | None
) -> None:
    """The model that failed is not known: neither "the split fits" nor a verdict may be said."""
    analysis = analysed(failing(100, None, answered_by=answered_by))
    assert (50, 3) == tuple(m.answers for m in analysis.models)
    assert (50, 3) == analysis.split.observed
    assert {"cut": 47} == analysis.totals.unknown_errors
    assert 47 == len(analysis.totals.retried if answered_by else analysis.totals.lost)
    verdict = judge(analysis, analysis.comparisons[0])
    assert Finding.INVALID == verdict.finding
    assert "were all of roberta, the split would fit" in verdict.reasons[0]
    assert "no" == dict(split_rows(analysis))["does the split fit"]
    (message,) = [w for w in warnings(analysis) if "first tries failed" in w]
    assert message.startswith("47 first tries failed (cut 47) at a model that nothing names")


def test_failures_count_for_the_model_that_failed(analysed: Callable[..., Analysis]) -> None:
    """The draws fit the declared shares; what is left of one model's does not."""
    analysis = analysed(failing(100, "roberta", answered_by="lexicon"))
    assert (50, 50) == analysis.split.observed
    assert not analysis.split.mismatch
    assert analysis.kept.mismatch
    assert ({}, {"cut": 47}) == tuple(m.errors for m in analysis.models)
    assert (50, 3) == tuple(m.answers for m in analysis.models)
    verdict = judge(analysis, analysis.comparisons[0])
    assert Finding.INVALID == verdict.finding
    assert "One model fails far more often (lexicon on 0, roberta on 47" in verdict.reasons[0]
    assert (
        "that of the first tries, not that of their answers"
        == (dict(split_rows(analysis))["does the split fit"])
    )
    assert (
        "roberta failed on 47 of its 50 first tries (cut 47); its figures are those of the other "
        "texts." in warnings(analysis)
    )


def test_few_failures_are_reported_and_forbid_nothing(analysed: Callable[..., Analysis]) -> None:
    """A verdict stands beside the warning."""
    events = records.simulated(600, {"lexicon": 0.65, "roberta": 0.85})
    events[4]["failed"] = [records.failed_try("timeout")]
    analysis = analysed(events)
    assert Finding.B_WINS == judge(analysis, analysis.comparisons[0]).finding
    fits = dict(split_rows(analysis))["does the split fit"]
    assert "yes, as far as known; 1 tries have no known model" == fits
    assert ("000003",) == analysis.totals.retried
    assert any("000003 was answered only after a failed try" in w for w in warnings(analysis))


def test_an_answer_of_an_unknown_model_counts_for_none(
    analysed: Callable[..., Analysis],
) -> None:
    """It is neither thrown away silently nor guessed."""
    analysis = analysed([*plain(), records.answer(40, None)])
    assert ("000040",) == analysis.totals.unattributed
    assert 40 == sum(m.answers for m in analysis.models)


def test_a_truth_that_comes_later_counts_and_a_contradicted_one_does_not(
    analysed: Callable[..., Analysis],
) -> None:
    """Truths of real traffic come days later, and people disagree."""
    late_truth = records.answer(40, "roberta", truth=None)
    waiting = records.answer(42, "roberta", truth=None)
    events = [*plain(), late_truth, waiting]
    events += [truth(records.moment(99), "000040", "negative")]
    events += [truth(records.moment(99), "000001", "negative")]
    analysis = analysed(events)
    assert (22, 20) == (analysis.models[1].answers, analysis.models[1].judged)
    assert ("000001",) == analysis.totals.contradicted
    assert 2 == analysis.totals.without_truth


@pytest.mark.parametrize(
    ("last", "state"), [("sent", "Still running"), ("stopped", "Stopped early")]
)
def test_reviews_that_are_not_sent_yet_are_counted(
    analysed: Callable[..., Analysis], last: str, state: str
) -> None:
    """A report may be made while the run goes on, or after Ctrl-C."""
    events = [records.run_line(50, MODELS), *plain()[1:], mark(last, records.moment(50))]
    assert f"{state}: 10 reviews of the plan are not sent yet." in warnings(analysed(events))


def test_torn_and_damaged_lines_are_reported(tmp_path: Path) -> None:
    """A crash cuts a line short."""
    path = records.write(tmp_path / "record.jsonl", plain())
    with path.open("a") as file:
        file.write('{"event": "request", "id": "0000')
    records.write(path, [])
    analysis = analyse(read_record(path), TestPlan())
    assert 1 == analysis.totals.unreadable
    assert 40 == analysis.totals.answered


def test_a_clear_winner_is_named_with_the_size_of_its_lead(
    analysed: Callable[..., Analysis],
) -> None:
    """The verdict is what people read."""
    analysis = analysed(records.simulated(600, {"lexicon": 0.65, "roberta": 0.85}))
    verdict = judge(analysis, analysis.comparisons[0])
    assert Finding.B_WINS == verdict.finding
    assert verdict.headline.startswith("roberta beats lexicon, by ")
    assert "more than the 1.0 percentage points that matter" in verdict.headline
    assert 0 == analysis.comparisons[0].needed


def test_the_control_may_win(analysed: Callable[..., Analysis]) -> None:
    """Signs are easily lost."""
    analysis = analysed(records.simulated(600, {"old": 0.9, "new": 0.6}))
    verdict = judge(analysis, analysis.comparisons[0])
    assert Finding.A_WINS == verdict.finding
    assert verdict.headline.startswith("old beats new, by ")
    assert "more often than new" in verdict.reasons[0]
    assert "of old minus that of new lies between +" in verdict.reasons[1]


def test_too_few_answers_leave_it_open_and_say_how_many_more(
    analysed: Callable[..., Analysis],
) -> None:
    """An open test must not look like a tie."""
    analysis = analysed(records.simulated(200, {"a": 0.7, "b": 0.8}))
    verdict = judge(analysis, analysis.comparisons[0])
    assert Finding.OPEN == verdict.finding
    needed = analysis.comparisons[0].needed
    assert needed
    assert f"About {needed:,} more answers" in verdict.headline


def test_equal_models_are_called_equal_once_the_margin_is_excluded(
    analysed: Callable[..., Analysis],
) -> None:
    """Two precisions of one model should come out like this."""
    analysis = analysed(
        records.simulated(4000, {"fp32": 0.9, "int8": 0.9}, seed=3), TestPlan(margin=0.06)
    )
    assert Finding.EQUIVALENT == judge(analysis, analysis.comparisons[0]).finding


def test_a_split_that_does_not_fit_forbids_a_verdict(analysed: Callable[..., Analysis]) -> None:
    """A test that lost requests of one model is not fair."""
    events = records.simulated(900, {"lexicon": 0.6, "roberta": 0.9}, share_b=0.35)
    events[0] = records.run_line(900, MODELS)
    analysis = analysed(events)
    verdict = judge(analysis, analysis.comparisons[0])
    assert Finding.INVALID == verdict.finding
    assert analysis.split.mismatch
    assert "not split as declared (lexicon 5" in verdict.reasons[0]
    restated = analysed([], TestPlan(), Model("lexicon", 0.65), Model("roberta", 0.35))
    assert Finding.B_WINS == judge(restated, restated.comparisons[0]).finding


def test_a_difference_that_changes_during_the_test_forbids_a_verdict(
    analysed: Callable[..., Analysis],
) -> None:
    """A model replaced under the same name must not pass as one model."""
    events = records.simulated(1500, {"a": 0.5, "b": 0.95})
    later = records.simulated(1500, {"a": 0.95, "b": 0.5}, seed=2)[1:]
    for i, event in enumerate(later):
        event.update(id=f"later-{i}", time=records.moment(2000 + i))
    analysis = analysed([*events, *later])
    verdict = judge(analysis, analysis.comparisons[0])
    assert Finding.INVALID == verdict.finding
    assert "changed during the test" in verdict.reasons[0]


def test_without_truths_there_is_no_verdict(analysed: Callable[..., Analysis]) -> None:
    """Latency and split are shown all the same."""
    events = plain()
    for event in events[1:]:
        event["truth"] = None
    analysis = analysed(events)
    assert Finding.INVALID == judge(analysis, analysis.comparisons[0]).finding
    assert 40 == analysis.totals.without_truth


def test_three_models_share_the_false_alarm_rate(analysed: Callable[..., Analysis]) -> None:
    """Two comparisons at 5 % each would be wrong in up to 10 % of tests."""
    shares = dict.fromkeys(("a", "b", "c"), 1 / 3)
    events = [records.run_line(90, shares)]
    events += [records.answer(i, "abc"[i % 3]) for i in range(90)]
    analysis = analysed(events)
    assert [("a", "b", 0.025), ("a", "c", 0.025)] == [
        (d.a, d.b, d.sequential.alpha) for d in analysis.comparisons
    ]
    assert [60, 60] == [d.sequential.now.n for d in analysis.comparisons]


def test_answers_are_judged_in_the_order_of_sending(analysed: Callable[..., Analysis]) -> None:
    """The faster model's answers are recorded first; the test must not see them all first."""
    events = records.simulated(400, {"lexicon": 0.6, "roberta": 0.9})
    expected = analysed(events).comparisons[0].sequential
    slow = [
        {**e, "time": records.moment(i + 1000), "waited_s": 1000 + e["waited_s"]}
        if e.get("model") == "roberta"
        else e
        for i, e in enumerate(events, -1)
    ]
    run, *answers = slow
    content = Content((run, *sorted(answers, key=lambda e: str(e["time"]))), 0, ())
    assert expected == analyse(content, TestPlan()).comparisons[0].sequential


def test_a_model_that_the_record_does_not_know_is_refused(
    analysed: Callable[..., Analysis],
) -> None:
    """A typo must not turn all answers into answers of nobody."""
    with pytest.raises(DataError, match=r"no model 'robreta'; it has lexicon, roberta"):
        analysed(plain(), None, Model("lexicon", 0.5), Model("robreta", 0.5))


def test_a_record_without_answers_is_refused_in_a_sentence(
    analysed: Callable[..., Analysis],
) -> None:
    """Every figure would be empty."""
    with pytest.raises(AnalysisError, match="no answer to a first try; 1 requests got none"):
        analysed([records.run_line(1, MODELS), records.failure(0, "timeout")])


def test_two_runs_in_one_file_are_refused(analysed: Callable[..., Analysis]) -> None:
    """Their ids and shares mean different things."""
    with pytest.raises(RecordError, match="2 runs"):
        analysed([*plain(), records.run_line(1, MODELS, run="r2")])


class Page(HTMLParser):
    """Collects tags and whatever a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href", "data")]
        self.ids += [v or "" for k, v in attrs if k == "id"]


def test_the_command_prints_and_leaves_json_and_a_page(tmp_path: Path) -> None:
    """Terminal, JSON and page must show the same, and the page needs no other file."""
    events = records.simulated(600, {"lexicon": 0.65, "<b>roberta</b>": 0.85})
    path = records.write(tmp_path / "record.jsonl", events)
    result = run_ab("report", path, "--json", tmp_path / "r.json", "--html", tmp_path / "r.html")
    assert 0 == result.code, result.err
    document = json.loads((tmp_path / "r.json").read_text())
    html = (tmp_path / "r.html").read_text()

    comparison = document["comparisons"][0]
    assert "b_wins" == comparison["verdict"]["finding"]
    assert comparison["verdict"]["headline"] in result.out
    assert comparison["verdict"]["headline"].replace("<", "&lt;").replace(">", "&gt;") in html
    assert {"p50", "p90", "p95", "p99"} == document["models"][0]["latency_s"].keys()
    assert 600 == sum(sum(map(sum, m["quality"]["confusion"])) for m in document["models"])

    page = Page()
    page.feed(html)
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert not {"script", "link", "iframe", "img", "b"}.intersection(page.tags)
    pictures = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert 6 == len(pictures)
    words = " ".join(
        text.text or ""
        for picture in pictures
        for text in ElementTree.fromstring(picture).iter()  # noqa: S314  our own picture
        if text.tag.endswith("text")
    )
    assert "decided" in words
    assert "<b>roberta</b>" in words
    assert str(tmp_path) not in html


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--models", "lexicon=0.5", "--models", "roberta"], "a share to every model or to none"),
        (["--json", "/nowhere/else/r.json"], "the directory of /nowhere/else/r.json does not"),
    ],
    ids=["half a share", "no directory"],
)
def test_wrong_options_are_reported_before_any_work(
    tmp_path: Path, options: list[str], message: str
) -> None:
    """One sentence, and no file."""
    path = records.write(tmp_path / "record.jsonl", plain())
    result = run_ab("report", path, *options)
    assert USAGE == result.code
    assert message in result.err
    assert ["record.jsonl"] == [p.name for p in tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("finding", "not_worse", "broken", "decision"),
    [
        (Finding.B_WINS, True, (), Decision.GO),
        (Finding.A_WINS, True, (), Decision.GO),  # worse, but by less than the margin
        (Finding.OPEN, True, (), Decision.GO),
        (Finding.OPEN, False, (), Decision.WAIT),
        (Finding.OPEN, False, ("p99",), Decision.STOP),
        (Finding.B_WINS, True, ("p99",), Decision.STOP),
        (Finding.A_WINS, False, (), Decision.STOP),
        (Finding.INVALID, True, ("p99",), Decision.INVALID),
    ],
)
def test_a_verdict_says_whether_the_challenger_goes_on(
    finding: Finding, not_worse: bool, broken: tuple[str, ...], decision: Decision
) -> None:
    """A pipeline needs one word, and a broken guardrail outweighs a better accuracy."""
    assert decision is Verdict(finding, "", (), not_worse, broken).decision
