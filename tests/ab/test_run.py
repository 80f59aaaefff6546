"""`ab run` against endpoints that misbehave: every review is counted once, whatever happens."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from ab.attribution import parse_models
from ab.errors import DataError, EndpointError, RecordError
from ab.events import BAD_ANSWER, FeedbackState
from ab.observations import confusion_of_feedback
from ab.record import read_record
from ab.rehearsal.counters import read_confusion
from ab.run.runner import Pace
from ab.run.session import Session
from tests.ab.fake import FakeEndpoint, Script
from tests.ab.running import execute, lines, once, options, seen, write_reviews
from tests.service import ROOT, Service, free_ports

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
    assert {str(i): "ab"[i % 2] for i in range(N)} == {o.id: o.model for o in found.answered}
    assert all(o.truth == o.predicted for o in found.answered)
    assert ((), (), (), (), 0) == (
        found.lost, found.late, found.duplicated, found.repeated, found.unsent,
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
    ("step", "asked", "repeated"),
    [
        pytest.param("lost", 2, True, id="lost answer"),
        pytest.param("stale", 2, True, id="another request's answer"),
        pytest.param("error", 2, True, id="server error"),
        pytest.param("twice", 1, False, id="answer sent twice"),
        pytest.param("busy", 1, False, id="refused"),
    ],
)
def test_a_troubled_answer_counts_once(
    reviews: Path, step: str, asked: int, repeated: bool
) -> None:
    """A prediction may be asked again; the review is counted once and the repeat is reported."""
    with FakeEndpoint({"review 5": Script(predict=(step,))}) as endpoint:
        given = options(reviews, endpoint.url, pace=Pace(0.0, 1, 0))
        execute(given)
    found = seen(given)
    assert N == len({o.id for o in found.answered}) == len(found.answered)
    assert once(N) | Counter({"review 5": asked}) == endpoint.predictions
    assert (("5",) if repeated else ()) == found.repeated
    assert once(N) == endpoint.feedbacks
    assert () == found.duplicated


def test_a_late_answer_counts_once(reviews: Path) -> None:
    """The caller gave it up, asked again and got it: one answer, marked late."""
    with FakeEndpoint({"review 3": Script(predict=("late",))}) as endpoint:
        given = options(reviews, endpoint.url, timeout_s=0.5)
        execute(given)
    found = seen(given)
    assert (("3",), ("3",)) == (found.late, found.repeated)
    assert N == len(found.answered)
    assert once(N) == endpoint.feedbacks
    line = lines(given, "request")["3"]
    assert 2 == line["tries"]
    assert line["waited_s"] > 0.5 > line["latency_s"]


def test_a_lost_answer_is_reported_and_not_counted(reviews: Path) -> None:
    """When no try brings an answer there is nothing to judge, and no feedback to send."""
    scripts = {"review 2": Script(predict=("lost",) * 9), "review 3": Script(predict=("reject",))}
    with FakeEndpoint(scripts) as endpoint:
        given = options(reviews, endpoint.url)
        assert execute(given).done
    found = seen(given)
    assert {"2", "3"} == set(found.lost)
    assert N - 2 == len(found.answered)
    assert ("cut", 3) == tuple(lines(given, "request")["2"][key] for key in ("outcome", "tries"))
    assert ("rejected", 1, "400") == tuple(
        lines(given, "request")["3"][key] for key in ("outcome", "tries", "status")
    )
    assert not {"review 2", "review 3"} & set(endpoint.feedbacks)


def test_an_answer_that_is_never_ours_is_told_apart(reviews: Path) -> None:
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
    assert (("4",) if state is FeedbackState.UNKNOWN else ()) == seen(given).uncertain_feedback


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        pytest.param("unrouted", "would go to every model", id="no routing"),
        pytest.param("stray", "no declared model", id="child 7"),
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
    assert (("4",) if step == "stray" else ()) == seen(given).unattributed


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
    assert (3, N - 3) == (len(seen(given).lost), seen(given).unsent)
    text = given.record.read_text(encoding="utf-8")
    with FakeEndpoint() as endpoint:
        given.record.write_text(text.replace(f"127.0.0.1:{port}", endpoint.url[7:]))
        execute(options(reviews, endpoint.url, resume=True, retry_lost=True))
    assert ((), 0, N) == (seen(given).lost, seen(given).unsent, len(seen(given).answered))
    assert once(N) == endpoint.feedbacks


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "Ctrl-C"])
def test_an_interrupted_run_resumes(reviews: Path, number: signal.Signals) -> None:
    """Stopped while a feedback is on its way, however: it is sent once, all others once as well."""
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
        again = subprocess.run(
            [*command, "--resume"], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
    assert 0 == again.returncode, again.stderr
    found = seen(given)
    assert first.unsent > 0
    assert (0, N) == (found.unsent, len(found.answered))
    assert once(N) == endpoint.feedbacks
    assert () == found.duplicated
    if number is signal.SIGKILL:
        assert ("6",) == found.uncertain_feedback
        assert "unknown" == lines(given, "feedback")["6"]["state"]
    else:
        assert "go on with --resume" in said
        assert () == found.uncertain_feedback


def test_a_torn_line_is_survived(reviews: Path) -> None:
    """A crash in the middle of a line costs that line, and the review is asked again."""
    with FakeEndpoint() as endpoint:
        given = options(reviews, endpoint.url, feedback=False, pace=Pace(0.0, 1, 0))
        execute(given)
        whole = given.record.read_bytes().splitlines(keepends=True)
        requests = [line for line in whole if json.loads(line)["event"] == "request"]
        given.record.write_bytes(b"".join(whole[:-2]) + requests[-1][:40])
        execute(options(reviews, endpoint.url, feedback=False, resume=True))
    assert (1, N, 0) == (seen(given).torn, len(seen(given).answered), seen(given).unsent)


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
    rows = (ROOT / "ab" / "rehearsal" / "reviews.tsv").read_text(encoding="utf-8").splitlines()
    reviews = tmp_path / "reviews.tsv"
    reviews.write_text("\n".join(rows[:31]) + "\n", encoding="utf-8")
    before = counted(lexicon_service)
    port = lexicon_service.http if scheme == "http" else lexicon_service.grpc
    given = options(reviews, f"{scheme}://127.0.0.1:{port}", models=parse_models(["lexicon"]))
    assert execute(given).done
    found = seen(given)
    assert (30, ()) == (len(found.answered), found.uncertain_feedback)
    assert {"requestPath"} == {o.line["by"] for o in found.answered}
    table = confusion_of_feedback(read_record(given.record).events)["lexicon"]
    assert table == counted(lexicon_service) - before
    assert 30 == sum(table.values())


def test_wrong_arguments_get_one_sentence(reviews: Path, tmp_path: Path) -> None:
    """What can be wrong before the first request is told without a stack trace."""
    with pytest.raises(EndpointError, match="is no endpoint"):
        Session(options(reviews, "localhost:9000"))
    with pytest.raises(DataError, match=r"ending in \.tsv"):
        Session(options(tmp_path / "reviews.txt", "http://127.0.0.1:1"))
    run = subprocess.run(
        [sys.executable, "-m", "ab", "run", str(reviews), "--endpoint", "http://127.0.0.1:1",
         "--record", str(tmp_path / "r.jsonl")],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert (1, "error: name the models with --models, or give the --manifest") == (
        run.returncode,
        " ".join(run.stderr.split()),
    )


def counted(service: Service) -> Counter[tuple[str, str]]:
    return read_confusion(service.scrape())
