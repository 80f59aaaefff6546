"""`ab run` through the stand-in executor while one of two models fails."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from seldon_core.proto import prediction_pb2

from ab.record import read_record
from ab.report.analysis import Analysis, analyse
from ab.report.totals import warnings
from ab.report.verdict import Finding, judge
from ab.run.options import Pace
from ab.stats.power import TestPlan
from rehearsal.gateway import Executor
from rehearsal.graph import Node, Predictor
from tests.ab.running import execute, lines, options, write_reviews
from tests.rehearsal.nodes import GrpcAnswer, RestAnswer, Script, serving
from tests.service import free_ports

N = 40
NO = (500, b'{"status":{"info":"no","status":"FAILURE"}}')
NAMED = (500, b'{"status":{"info":"no"},"meta":{"requestPath":{"lexicon":"lexicon:1"}}}')
BUSY = (503, b'{"status":{"reason":"OVERLOADED"}}')
GARBAGE = (200, b'{"data":{"names":["x"]},"meta":{"requestPath":{"lexicon":"lexicon:1"}}}')


def scored(name: str, message: Mapping[str, Any]) -> dict[str, Any]:
    """Every review is right: odd ones are positive."""
    number = int(message["data"]["ndarray"][0].rpartition(" ")[2])
    scores = [0.1, 0.9] if number % 2 else [0.9, 0.1]
    meta = {"puid": message["meta"]["puid"], "requestPath": {name: f"{name}:1"}}
    return {"data": {"names": ["negative", "positive"], "ndarray": [scores]}, "meta": meta}


def healthy(name: str) -> Script:
    """Answers, and takes feedback."""

    def rest(path: str, body: bytes) -> RestAnswer:
        if path != "/predict":
            return RestAnswer()
        return RestAnswer(body=json.dumps(scored(name, json.loads(body))).encode())

    def rpc(method: str, request: bytes) -> GrpcAnswer:
        if method != "Predict":
            return GrpcAnswer()
        message = json_format.MessageToDict(prediction_pb2.SeldonMessage.FromString(request))
        answer = json_format.ParseDict(scored(name, message), prediction_pb2.SeldonMessage())
        return GrpcAnswer(answer.SerializeToString())

    return Script(rest, rpc)


@contextmanager
def dead(name: str) -> Iterator[Node]:
    """No process listens."""
    http_port, grpc_port = free_ports(2)
    yield Node(name, "MODEL", "localhost", http_port, grpc_port)


def failing(status: int, body: bytes) -> Script:
    error = GrpcAnswer(b"", grpc.StatusCode.UNAVAILABLE, "1 requests are waiting; try again in 9 s")
    return Script(lambda path, _: RestAnswer(status, body), lambda method, _: error)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr("ab.run.retry._FIRST_PAUSE_S", 0.0)


class Draws:
    """Draws half of the requests for each model, and knows the first draw of every review."""

    def __init__(self) -> None:
        self._random = random.Random(3)
        self.all: list[str] = []

    def __call__(self) -> float:
        value = self._random.random()
        self.all.append("roberta" if value < 0.5 else "lexicon")
        return value

    def firsts(self, tries: list[int]) -> Counter[str]:
        """The first draws of reviews that were sent one after the other, each so often."""
        starts = [sum(tries[:i]) for i in range(len(tries))]
        return Counter(self.all[start] for start in starts)


@pytest.mark.parametrize(
    ("scheme", "script", "known"),
    [
        pytest.param("rest", failing(*NO), False, id="rest-error"),
        pytest.param("rest", failing(*BUSY), False, id="rest-busy"),
        pytest.param("rest", failing(*NAMED), True, id="rest-error-that-names-it"),
        pytest.param("rest", failing(*GARBAGE), True, id="rest-no-scores"),
        pytest.param("rest", None, True, id="rest-dead"),
        pytest.param("grpc", failing(*NO), False, id="grpc-unavailable"),
        pytest.param("grpc", None, True, id="grpc-dead"),
    ],
)
def test_a_failing_model_keeps_its_texts(
    tmp_path: Path, scheme: str, script: Script | None, known: bool
) -> None:
    """The healthy model is judged by its own first draws, and no report says that all is well."""
    draws = Draws()
    with ExitStack() as stack:
        good = stack.enter_context(serving("roberta", healthy("roberta")))
        bad = stack.enter_context(serving("lexicon", script) if script else dead("lexicon"))
        tree = Node("ab", "", "", ratio_a="0.5", children=(good, bad))
        executor = stack.enter_context(Executor(Predictor("default", tree), draw=draws).serve())
        given = options(
            write_reviews(tmp_path / "reviews.tsv", N),
            executor.url if scheme == "rest" else f"grpc://{executor.target}",
            models=["roberta", "lexicon"], router="ab", pace=Pace(0.0, 1, 0),
            tries=2, ports={bad.http_port: "lexicon", bad.grpc_port: "lexicon"},
        )  # fmt: skip
        execute(given)
    tries = [line["tries"] for line in lines(given, "request").values()]
    firsts = draws.firsts(tries)
    analysis = analyse(read_record(given.record), TestPlan())
    assert N == firsts.total() == analysis.totals.requests
    assert firsts["lexicon"] > 12
    assert (firsts["roberta"], 0) == tuple(m.answers for m in analysis.models)
    assert firsts["lexicon"] == failures(analysis, known)
    assert firsts["lexicon"] == len(analysis.totals.retried) + len(analysis.totals.lost)
    assert (firsts["roberta"], firsts["lexicon"] if known else 0) == analysis.split.observed
    assert Finding.INVALID == judge(analysis, analysis.comparisons[0]).finding
    assert any("first tries" in warning for warning in warnings(analysis))


def failures(analysis: Analysis, known: bool) -> int:
    """First tries that failed, of the failing model or of an unknown one."""
    return sum((analysis.models[1].errors if known else analysis.totals.unknown_errors).values())


def test_a_dead_endpoint_draws_nothing(tmp_path: Path) -> None:
    """A try that found nobody at the endpoint itself is no draw: the answer behind it counts."""
    (port,) = free_ports(1)
    given = options(
        write_reviews(tmp_path / "reviews.tsv", 3), f"http://127.0.0.1:{port}", tries=1,
        pace=Pace(0.0, 1, 0),
    )  # fmt: skip
    execute(given)
    record = read_record(given.record)
    assert {"unreachable"} == {e["outcome"] for e in record.events if e["event"] == "request"}
    assert [[]] * 3 == [e["failed"] for e in record.events if e["event"] == "request"]


@pytest.mark.parametrize("scheme", ["rest", "grpc"])
def test_feedback_carries_its_puid_through_the_executor(tmp_path: Path, scheme: str) -> None:
    """In the header or metadata of the call to the node, beside that of the prediction."""
    script = healthy("roberta")
    with ExitStack() as stack:
        node = stack.enter_context(serving("roberta", script))
        executor = stack.enter_context(Executor(Predictor("default", node)).serve())
        address = executor.url if scheme == "rest" else f"grpc://{executor.target}"
        reviews = write_reviews(tmp_path / "reviews.tsv", 5)
        given = options(reviews, address, models=["roberta"])
        execute(given)
    name = "Seldon-Puid" if scheme == "rest" else "seldon-puid"
    asked = sorted(headers[name] for path, headers in script.calls if "redict" in path)
    fed_back = sorted(headers[name] for path, headers in script.calls if "eedback" in path)
    assert asked == fed_back == sorted(line["puid"] for line in lines(given, "request").values())
