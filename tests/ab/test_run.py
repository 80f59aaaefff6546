"""`ab run` against endpoints that misbehave: every review is counted once, whatever happens."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from ab.errors import USAGE, EndpointError, RecordError
from ab.events import BAD_ANSWER, FeedbackState
from ab.record import read_record
from ab.run.options import Pace
from ab.run.runner import RETRIED
from ab.run.session import Session
from rehearsal.counters import confusion_of_feedback, read_counters
from roberta_sentiment.errors import DataError
from tests import ROOT
from tests.ab import records
from tests.ab.fake import FakeEndpoint, Script
from tests.ab.running import execute, lines, once, options, run_ab, seen, write_reviews
from tests.service import Service, free_ports

N = 12


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    return write_reviews(tmp_path / "reviews.tsv", N)


def test_a_run_without_trouble(reviews: Path) -> None:
    """Each review is asked once, its truth sent once to the model that answered, and recorded."""
    with FakeEndpoint() as endpoint:
        given = options(reviews, endpoint.url)
        result = execute(given)
    found = seen(given)
    assert result.done
    assert (once(N), once(N)) == (endpoint.predictions, endpoint.feedbacks)
    assert {str(i): "ab"[i % 2] for i in range(N)} == {
        o.id: o.model for o in found.answered.itertuples()
    }
    assert all(o.truth == o.predicted for o in found.answered.itertuples())
    totals = found.totals
    assert ((), (), (), (), 0) == (
        totals.lost, totals.late, totals.duplicated, totals.repeated, totals.unsent,
    )  # fmt: skip
    expected = {"a": {("negative", "negative"): N // 2}, "b": {("positive", "positive"): N // 2}}
    assert expected == confusion_of_feedback(read_record(given.record).events)


def test_feedback_takes_the_route_of_the_answer(reviews: Path) -> None:
    """Seldon's executor leads feedback by response.meta.routing, and knows no other fields."""
    with FakeEndpoint() as endpoint:
        execute(options(reviews, endpoint.url))
    for message in endpoint.received:
        number = int(message["request"]["data"]["ndarray"][0].rpartition(" ")[2])
        assert {"ab": number % 2} == message["response"]["meta"]["routing"]
        assert {"request", "response", "truth", "reward"} == set(message)


@pytest.mark.parametrize(
    ("step", "asked", "retried", "repeated"),
    [
        pytest.param("lost", 2, True, True, id="lost answer"),
        pytest.param("stale", 2, True, True, id="another request's answer"),
        pytest.param("error", 2, True, True, id="server error"),
        pytest.param("busy", 1, True, False, id="refused"),
        pytest.param("twice", 1, False, False, id="answer sent twice"),
    ],
)
def test_only_the_first_draw_counts(
    reviews: Path, step: str, asked: int, retried: bool, repeated: bool
) -> None:
    """A prediction may be asked again, but that draws again: the answer counts for no model."""
    with FakeEndpoint({"review 5": Script(predict=(step, "other"))}) as endpoint:
        given = options(reviews, endpoint.url, pace=Pace(0.0, 1, 0))
        result = execute(given)
    found = seen(given)
    assert N - retried == len({o.id for o in found.answered.itertuples()}) == len(found.answered)
    assert (("5",) if retried else ()) == found.totals.retried
    assert (retried, N - retried) == (result.counts[RETRIED], result.counts["answered"])
    assert [("5", None)] * retried == [(f.id, f.model) for f in found.failures]
    assert once(N) | Counter({"review 5": asked}) == endpoint.predictions
    assert (("5",) if repeated else ()) == found.totals.repeated
    assert once(N) == endpoint.feedbacks
    assert ((), ()) == (found.totals.duplicated, found.totals.lost)


def test_every_try_has_a_puid_of_its_own(reviews: Path) -> None:
    """Else a log would join the feedback to the try that failed as well."""
    with FakeEndpoint({"review 5": Script(predict=("error", "error"))}) as endpoint:
        given = options(reviews, endpoint.url)
        execute(given)
    puids = [line["puid"] for line in lines(given, "request").values()]
    run = seen(given).run["run"]
    assert {f"{run}-{i}" for i in range(N) if i != 5} | {f"{run}-5.1.3"} == set(puids)
    sent = {m["request"]["data"]["ndarray"][0]: m["response"]["meta"] for m in endpoint.received}
    assert f"{run}-5.1.3" == sent["review 5"]["puid"]


def test_feedback_can_be_joined_to_its_prediction(reviews: Path) -> None:
    """By the puid of the request, the response and the header, which the executor's log shows."""
    with FakeEndpoint() as endpoint:
        given = options(reviews, endpoint.url, pace=Pace(0.0, 1, 0))
        execute(given)
    puids = {f"review {i}": line["puid"] for i, line in lines(given, "request").items()}
    for message, header in zip(endpoint.received, endpoint.puids, strict=True):
        puid = puids[message["request"]["data"]["ndarray"][0]]
        assert (puid, puid, puid) == (
            message["request"]["meta"]["puid"],
            message["response"]["meta"]["puid"],
            header,
        )


def test_an_answer_after_a_timeout_is_left_out(reviews: Path) -> None:
    """The slow model's text must not move to the fast one; the answer gets its feedback."""
    with FakeEndpoint({"review 3": Script(predict=("late",))}) as endpoint:
        given = options(reviews, endpoint.url, timeout_s=0.5)
        execute(given)
    found = seen(given)
    assert "3" in found.totals.retried
    assert "3" in found.totals.repeated
    assert ("3", "timeout") in [(f.id, f.outcome) for f in found.failures]
    assert "3" not in [o.id for o in found.answered.itertuples()]
    assert once(N) == endpoint.feedbacks
    line = lines(given, "request")["3"]
    assert 2 == line["tries"]
    assert line["waited_s"] > 0.5 > line["latency_s"]


def test_a_single_model_keeps_retried_answers(reviews: Path) -> None:
    """There is nothing to draw, so the text stays where it was; the failures are the model's."""
    with FakeEndpoint({"review 4": Script(predict=("error",))}) as endpoint:
        given = options(reviews, endpoint.url, models=["a"])
        execute(given)
    found = seen(given)
    assert (N, ()) == (len(found.answered), found.totals.retried)
    assert [("4", "a", "failed")] == [(f.id, f.model, f.outcome) for f in found.failures]


def test_a_lost_answer_is_reported_and_not_counted(reviews: Path) -> None:
    """When no try brings an answer there is nothing to judge, and no feedback to send."""
    scripts = {"review 2": Script(predict=("lost",) * 9), "review 3": Script(predict=("reject",))}
    with FakeEndpoint(scripts) as endpoint:
        given = options(reviews, endpoint.url)
        assert execute(given).done
    found = seen(given)
    assert {"2", "3"} == set(found.totals.lost)
    assert N - 2 == len(found.answered)
    assert ("cut", 3) == tuple(lines(given, "request")["2"][key] for key in ("outcome", "tries"))
    assert ("rejected", 1, "400") == tuple(
        lines(given, "request")["3"][key] for key in ("outcome", "tries", "status")
    )
    assert not {"review 2", "review 3"} & set(endpoint.feedbacks)


def test_an_answer_that_is_never_ours_is_distinguished(reviews: Path) -> None:
    """A proxy that mixes answers up must not look like a broken line."""
    with FakeEndpoint({"review 2": Script(predict=("stale",) * 9)}) as endpoint:
        given = options(reviews, endpoint.url)
        execute(given)
    line = lines(given, "request")["2"]
    assert BAD_ANSWER == line["outcome"]
    assert "another request" in line["detail"]
    assert line["predicted"] is None


@pytest.mark.parametrize(
    ("steps", "state", "executed"),
    [
        pytest.param(("lost",), FeedbackState.UNKNOWN, 1, id="no answer"),
        pytest.param(("error",), FeedbackState.UNKNOWN, 1, id="server error"),
        pytest.param(("busy", "busy"), FeedbackState.ANSWERED, 1, id="refused twice"),
        pytest.param(("busy",) * 9, FeedbackState.REFUSED, 0, id="always refused"),
        pytest.param(("reject",), FeedbackState.REFUSED, 0, id="rejected"),
    ],
)
def test_feedback_is_never_counted_twice(
    reviews: Path, steps: tuple[str, ...], state: FeedbackState, executed: int
) -> None:
    """A feedback that may have been counted is not sent again, now or when the run is resumed."""
    with FakeEndpoint({"review 4": Script(feedback=steps)}) as endpoint:
        given = options(reviews, endpoint.url)
        execute(given)
        assert executed == endpoint.feedbacks["review 4"]
        assert str(state) == lines(given, "feedback")["4"]["state"]
        execute(options(reviews, endpoint.url, resume=True))
        if state is not FeedbackState.REFUSED:
            assert executed == endpoint.feedbacks["review 4"]
    assert all(count == 1 for text, count in endpoint.feedbacks.items() if text != "review 4")
    assert (("4",) if state is FeedbackState.UNKNOWN else ()) == seen(
        given
    ).totals.uncertain_feedback


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        pytest.param("unrouted", "would go to every model", id="no routing"),
        pytest.param("stray", "not a declared model", id="child 7"),
    ],
)
def test_feedback_without_a_route_is_withheld(reviews: Path, step: str, reason: str) -> None:
    """Sent without a routing it would reach every model; with a wrong one it ends the executor."""
    with FakeEndpoint({"review 4": Script(predict=(step,))}) as endpoint:
        given = options(reviews, endpoint.url)
        execute(given)
    line = lines(given, "feedback")["4"]
    assert "withheld" == line["state"]
    assert reason in line["detail"]
    assert 0 == endpoint.feedbacks["review 4"]
    assert (("4",) if step == "stray" else ()) == seen(given).totals.unattributed


def test_a_named_router_gives_the_route(reviews: Path) -> None:
    """Without routing injection the path names the model, and the caller knows the router."""
    with FakeEndpoint({"review 5": Script(predict=("unrouted",))}) as endpoint:
        execute(options(reviews, endpoint.url, router="ab"))
    (sent,) = [m for m in endpoint.received if m["request"]["data"]["ndarray"] == ["review 5"]]
    assert {"ab": 1} == sent["response"]["meta"]["routing"]


def test_a_run_gives_up_on_a_dead_endpoint_and_resumes(reviews: Path) -> None:
    """An outage must not burn all reviews; afterwards the lost ones can be sent again."""
    (port,) = free_ports(1)
    given = options(reviews, f"http://127.0.0.1:{port}", tries=1, pace=Pace(0.0, 1, 3))
    result = execute(given)
    assert not result.done
    assert "3 requests in a row had no answer" in result.gave_up
    assert (3, N - 3) == (len(seen(given).totals.lost), seen(given).totals.unsent)
    text = given.record.read_text(encoding="utf-8")
    with FakeEndpoint() as endpoint:
        given.record.write_text(text.replace(f"127.0.0.1:{port}", endpoint.url[7:]))
        execute(options(reviews, endpoint.url, resume=True, retry_lost=True))
    assert ((), 0, N) == (
        seen(given).totals.lost,
        seen(given).totals.unsent,
        len(seen(given).answered),
    )
    assert once(N) == endpoint.feedbacks


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "Ctrl-C"])
def test_an_interrupted_run_resumes(reviews: Path, number: signal.Signals) -> None:
    """Stopped while a feedback is in transit: it is sent once, all others once as well."""
    with FakeEndpoint({"review 6": Script(feedback=("held",))}) as endpoint:
        given = options(reviews, endpoint.url)
        command = [
            sys.executable, "-m", "ab", "run", str(reviews), "--endpoint", endpoint.url,
            "--record", str(given.record), "--models", "a", "--models", "b", "--seed", "1",
            "--concurrency", "1", "--rate", "40",
        ]  # fmt: skip
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        assert endpoint.held.wait(60)
        process.send_signal(number)
        if number is signal.SIGKILL:
            process.wait(30)
        endpoint.release.set()
        _, said = process.communicate(timeout=60)
        assert (-9 if number is signal.SIGKILL else 3) == process.returncode
        first = seen(given)
        again = run_ab(*command[3:], "--resume")
    assert 0 == again.code, again.err
    found = seen(given)
    assert first.totals.unsent > 0
    assert (0, N) == (found.totals.unsent, len(found.answered))
    assert once(N) == endpoint.feedbacks
    assert () == found.totals.duplicated
    if number is signal.SIGKILL:
        assert ("6",) == found.totals.uncertain_feedback
        assert "unknown" == lines(given, "feedback")["6"]["state"]
    else:
        assert "go on with --resume" in said
        assert () == found.totals.uncertain_feedback


def test_what_was_on_its_way_at_a_kill_is_left_out(reviews: Path) -> None:
    """Asked again it is drawn again, and the slower model's texts are running more often."""
    with FakeEndpoint({"review 6": Script(predict=("held", "other"))}) as endpoint:
        given = options(reviews, endpoint.url)
        command = [
            sys.executable, "-m", "ab", "run", str(reviews), "--endpoint", endpoint.url,
            "--record", str(given.record), "--models", "a", "--models", "b", "--seed", "1",
            "--concurrency", "1",
        ]  # fmt: skip
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        assert endpoint.held.wait(60)
        process.kill()
        process.wait(60)
        endpoint.release.set()
        execute(options(reviews, endpoint.url, resume=True))
    found = seen(given)
    assert (N - 1, ("6",)) == (len(found.answered), found.totals.retried)
    assert [("6", None, "interrupted")] == [(f.id, f.model, f.outcome) for f in found.failures]
    assert once(N) == endpoint.feedbacks


def test_a_torn_line_is_survived(reviews: Path) -> None:
    """A crash in the middle of a line costs that line, and the review is asked again."""
    with FakeEndpoint() as endpoint:
        given = options(reviews, endpoint.url, feedback=False, pace=Pace(0.0, 1, 0))
        execute(given)
        whole = given.record.read_bytes().splitlines(keepends=True)
        requests = [line for line in whole if json.loads(line)["event"] == "request"]
        given.record.write_bytes(b"".join(whole[:-2]) + requests[-1][:40])
        execute(options(reviews, endpoint.url, feedback=False, resume=True))
    found = seen(given)
    assert (1, N - 1, 0) == (found.totals.unreadable, len(found.answered), found.totals.unsent)
    (lost_line,) = found.totals.retried
    assert [(lost_line, "interrupted")] == [(f.id, f.outcome) for f in found.failures]


def test_a_record_is_not_overwritten_nor_mixed(reviews: Path, tmp_path: Path) -> None:
    """Two experiments in one record would be judged as one."""
    with FakeEndpoint() as endpoint:
        given = options(reviews, endpoint.url)
        with pytest.raises(RecordError, match="nothing to resume"):
            Session(options(reviews, endpoint.url, resume=True))
        execute(given)
        with pytest.raises(RecordError, match="exists; go on with --resume"):
            Session(given)
        with pytest.raises(RecordError, match="seed was 1, now 2"):
            Session(options(reviews, endpoint.url, resume=True, seed=2))


def test_a_finished_run_has_nothing_left(reviews: Path) -> None:
    """Resuming by mistake must change no count."""
    with FakeEndpoint() as endpoint:
        execute(options(reviews, endpoint.url))
        execute(options(reviews, endpoint.url, resume=True))
    assert (once(N), once(N)) == (endpoint.predictions, endpoint.feedbacks)


def test_the_rate_is_kept(reviews: Path) -> None:
    """A request is sent at its planned moment or later, and the record says by how much."""
    with FakeEndpoint() as endpoint:
        given = options(reviews, endpoint.url, feedback=False, pace=Pace(40.0, 3, 0))
        start = len(endpoint.predictions)
        session = Session(given)
        before = session._clock.monotonic()
        session.execute(lambda counts: None)
        took = session._clock.monotonic() - before
    assert 0 == start
    assert took >= (N - 1) / 40
    assert all(line["lag_s"] >= 0 for line in lines(given, "request").values())


def test_texts_are_kept_only_when_asked(reviews: Path) -> None:
    """Reviews are personal data."""
    with FakeEndpoint() as endpoint:
        given = options(reviews, endpoint.url)
        execute(given)
    assert "review 1" not in given.record.read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_against_a_real_microservice(lexicon_service: Service, tmp_path: Path, scheme: str) -> None:
    """REST and gRPC alike: the node's own counters grow by exactly what the record says."""
    rows = (ROOT / "rehearsal" / "reviews.tsv").read_text(encoding="utf-8").splitlines()
    reviews = tmp_path / "reviews.tsv"
    reviews.write_text("\n".join(rows[:31]) + "\n", encoding="utf-8")
    before = counted(lexicon_service)
    port = lexicon_service.http if scheme == "http" else lexicon_service.grpc
    given = options(reviews, f"{scheme}://127.0.0.1:{port}", models=["lexicon"])
    assert execute(given).done
    found = seen(given)
    assert (30, ()) == (len(found.answered), found.totals.uncertain_feedback)
    assert {"requestPath"} == {o.by for o in found.answered.itertuples()}
    table = confusion_of_feedback(read_record(given.record).events)["lexicon"]
    assert table == counted(lexicon_service) - before
    assert 30 == sum(table.values())


def test_wrong_arguments_get_one_sentence(reviews: Path, tmp_path: Path) -> None:
    """What can be wrong before the first request is one sentence without a stack trace."""
    with pytest.raises(EndpointError, match="is not an endpoint"):
        Session(options(reviews, "localhost:9000"))
    with pytest.raises(DataError, match="must end in one of"):
        Session(options(tmp_path / "reviews.xlsx", "http://127.0.0.1:1"))
    record = tmp_path / "r.jsonl"
    run = run_ab("run", reviews, "--endpoint", "http://127.0.0.1:1", "--record", record)
    sentence = "error: name the models with --models, or give the --manifest"
    assert (USAGE, sentence) == (run.code, run.err)


def test_a_run_does_not_import_the_statistics() -> None:
    """They take a second, and a run needs none of them."""
    code = "import sys, ab.run.cli, ab.run.truth\nprint({'scipy', 'statsmodels'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ("set()", 0) == (done.stdout.strip(), done.returncode)


def counted(service: Service) -> Counter[tuple[str, ...]]:
    return read_counters(service.scrape(), feedback=True)


@pytest.mark.parametrize("command", ["run", "compare", "import", "truth"])
def test_a_label_map_to_another_label_is_refused(tmp_path: Path, command: str) -> None:
    """Before anything is sent or written, with the option and the labels there are."""
    reviews = write_reviews(tmp_path / "reviews.tsv", 3)
    kept = records.write(tmp_path / "kept.jsonl", records.simulated(3, {"a": 0.5, "b": 0.5}))
    endpoint, record = "http://localhost:9", tmp_path / "record.jsonl"
    arguments: dict[str, list[str | Path]] = {
        "run": [reviews, "--endpoint", endpoint, "--record", record, "--models", "a"],
        "compare": [endpoint, endpoint, "--reviews", reviews],
        "import": [reviews, "--record", record, "--models", "a"],
        "truth": [kept, reviews, "--no-feedback"],
    }
    before = kept.read_bytes()
    ended = run_ab(command, *arguments[command], "--label-map", "LABEL_1=good")
    assert "error: --label-map: 'good' is not a label; labels are negative, positive" == ended.err
    assert (USAGE, before, False) == (ended.code, kept.read_bytes(), record.exists())
