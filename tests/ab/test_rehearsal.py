"""The rehearsal: routing as Seldon's executor does it, and the counters that must agree."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from ab.errors import DataError
from ab.manifest import read_ab_test
from ab.observations import confusion_of_feedback
from ab.record import read_record
from ab.rehearsal.counters import compare
from ab.rehearsal.gateway import Executor, Node, first_number, route_of
from ab.rehearsal.router import RandomABTest
from ab.rehearsal.service import Microservice
from tests.service import ROOT

MANIFEST = ROOT / "deploy" / "ab-test.yaml"


class Recorder:
    """Three nodes in one server: the router answers `choice`, models echo their name."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.choice: Any = {"data": {"ndarray": [1]}}
        self.status = 200
        self.meta: dict[str, Any] = {"meta": {}}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def node(self, name: str) -> Node:
        return Node(name, f"http://127.0.0.1:{self.server.server_port}/{name}")


def _handler(recorder: Recorder) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            recorder.calls.append((self.path, self.headers["Seldon-Puid"]))
            name, _, method = self.path[1:].partition("/")
            answer = recorder.choice if method == "route" else {"strData": name, **recorder.meta}
            status = 200 if method == "route" else recorder.status
            reply = json.dumps(answer).encode() if body else b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

    return Handler


@pytest.fixture
def nodes() -> Iterator[Recorder]:
    recorder = Recorder()
    yield recorder
    recorder.server.shutdown()
    recorder.server.server_close()


@pytest.fixture
def gateway(nodes: Recorder) -> Iterator[str]:
    executor = Executor(nodes.node("ab"), [nodes.node("roberta"), nodes.node("lexicon")])
    with executor.serve() as url:
        yield f"{url}/api/v1.0"


def test_the_chosen_child_answers_and_the_route_is_told(nodes: Recorder, gateway: str) -> None:
    """meta.routing is what leads the feedback; MODEL nodes stand in it with -1."""
    answer = requests.post(f"{gateway}/predictions", json={"strData": "a"}, timeout=10)
    assert {"ab": 1, "lexicon": -1} == answer.json()["meta"]["routing"]
    assert ["/ab/route", "/lexicon/predict"] == [path for path, _ in nodes.calls]
    assert {answer.headers["Seldon-Puid"]} == {puid for _, puid in nodes.calls}


def test_an_answer_without_meta_gets_no_routing(nodes: Recorder, gateway: str) -> None:
    """So does the executor, and so the client must cope with it."""
    nodes.meta = {}
    answer = requests.post(f"{gateway}/predictions", json={"strData": "a"}, timeout=10)
    assert {"strData": "lexicon"} == answer.json()


def test_a_node_s_error_is_passed_on(nodes: Recorder, gateway: str) -> None:
    """Status and body of the node reach the caller."""
    nodes.status = 413
    answer = requests.post(f"{gateway}/predictions", json={"strData": "a"}, timeout=10)
    assert (413, "lexicon") == (answer.status_code, answer.json()["strData"])


@pytest.mark.parametrize(
    ("body", "reached"),
    [
        pytest.param({"response": {"meta": {"routing": {"ab": 0}}}}, ["roberta"], id="routed"),
        pytest.param({"response": {"meta": {}}}, ["roberta", "lexicon"], id="no routing"),
        pytest.param(
            {"response": {"meta": {"routing": {"ab": 0}}}, "note": 1}, ["roberta", "lexicon"],
            id="unknown field",
        ),
    ],
)  # fmt: skip
def test_feedback_follows_the_routing(
    nodes: Recorder, gateway: str, body: dict[str, Any], reached: list[str]
) -> None:
    """Without a routing that can be read, every child gets it: Seldon's trap, kept."""
    requests.post(f"{gateway}/feedback", json=body, timeout=10)
    assert [*reached, "ab"] == [path.split("/")[1] for path, _ in nodes.calls]


@pytest.mark.parametrize(
    "answer", [1, [1], [[1]], {"data": {"ndarray": [[1]]}}, {"data": {"tensor": {"values": [1.0]}}}]
)
def test_the_router_s_answer_is_read_in_every_form(answer: Any) -> None:
    """The executor takes a JSON list or a SeldonMessage."""
    assert 1 == first_number(answer)


def test_a_body_that_is_no_feedback_goes_to_all() -> None:
    """The executor ignores what it can't parse."""
    assert -1 == route_of(b"nonsense", "ab")


def test_the_router_draws_the_declared_share() -> None:
    """10,000 draws lie within four standard errors of the share, and seeds repeat."""
    drawn = [RandomABTest(0.7, seed=1).route(None, None) for _ in range(3)]
    assert 1 == len(set(drawn))
    router = RandomABTest(0.7, seed=1)
    share = sum(router.route(None, None) == 0 for _ in range(10_000)) / 10_000
    assert abs(share - 0.7) < 4 * (0.7 * 0.3 / 10_000) ** 0.5


def test_the_router_is_a_seldon_component() -> None:
    """The real wrapper serves it as SERVICE_TYPE ROUTER, with the parameters of a graph node."""
    environment = {"MODEL_NAME": "ab.rehearsal.router.RandomABTest", "SERVICE_TYPE": "ROUTER"}
    parameters = [
        {"name": "ratioA", "type": "FLOAT", "value": "0.999999"},
        {"name": "seed", "type": "INT", "value": "1"},
    ]
    with Microservice("ab", environment, parameters=parameters) as router:
        router.wait_until_ready()
        answer = requests.post(
            f"{router.url}/route", json={"data": {"ndarray": ["a"]}}, timeout=10
        ).json()
    assert 0 == first_number(answer)


def test_models_and_shares_come_from_the_manifest() -> None:
    """The rehearsal tests what would be deployed."""
    test = read_ab_test(MANIFEST)
    assert ("ab", 0.5) == (test.router, test.ratio_a)
    assert [("roberta", 0.5), ("lexicon", 0.5)] == [(m.name, m.share) for m in test.models]
    assert "roberta-sentiment-lexicon:0.1.0" == test.children[1].image


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('value: "0.5"}', 'value: "70"}', "ratioA is '70'"),
        ("{name: ratioA,", "{name: ratio,", "must have the one parameter ratioA"),
        ("parameters:\n          - {name: ratioA", "parameters:\n          - {name: x, type: INT, "
         'value: "1"}\n          - {name: ratioA', "must have the one parameter ratioA"),
        ("RANDOM_ABTEST", "RANDOM_ABTST", "holds 0 RANDOM_ABTEST nodes"),
        ("kind: SeldonDeployment", "kind: [", "is no SeldonDeployment"),
    ],
)  # fmt: skip
def test_a_node_that_would_split_otherwise_is_refused(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    """Seldon takes these without a word and splits in another way than the file says."""
    text = MANIFEST.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "manifest.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(told)):
        read_ab_test(path)


def test_a_counter_that_differs_is_found() -> None:
    """Two workers of one model are summed, and one feedback more than recorded shows."""
    page = "".join(
        f'sentiment_feedback_total{{truth="{t}",prediction="{p}",worker_id="{w}"}} {n}\n'
        for t, p, w, n in [("a", "a", 1, 2.0), ("a", "a", 2, 1.0), ("a", "b", 1, 1.0)]
    )
    head = "# TYPE sentiment_feedback_total counter\n"
    cells = compare({"m": Counter({("a", "a"): 3})}, {"m": head + page}, ("a", "b"))
    assert [("a", "a", True), ("a", "b", False), ("b", "a", True), ("b", "b", True)] == [
        (cell.truth, cell.predicted, cell.agrees) for cell in cells
    ]


def test_a_whole_rehearsal(tmp_path: Path) -> None:
    """`make ab`: real microservices, feedback along the route, a report, and equal counters."""
    command = [
        sys.executable, "-m", "ab", "rehearse", "--output", str(tmp_path), "--limit", "60",
        "--reviews", str(ROOT / "ab" / "rehearsal" / "reviews.tsv"),
    ]  # fmt: skip
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert 0 == run.returncode, run.stdout + run.stderr
    said = " ".join(run.stdout.split())
    assert "The confusion counters on both metrics ports equal the record." in said
    assert "roberta" in (tmp_path / "report.html").read_text(encoding="utf-8")
    events = read_record(tmp_path / "record.jsonl").events
    tables = confusion_of_feedback(events)
    assert {"roberta", "lexicon"} == set(tables)
    assert 60 == sum(table.total() for table in tables.values())
    assert {"requestPath"} == {e["by"] for e in events if e["event"] == "request"}


def test_make_ab_is_the_rehearsal() -> None:
    """The command of the README exists and runs what is tested here."""
    run = subprocess.run(
        ["make", "--dry-run", "ab"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "-m ab rehearse" in run.stdout
