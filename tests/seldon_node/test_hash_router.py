"""The router by the hash of a tag: one unit, one model, on every transport and replica."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
import requests
from seldon_core.proto import prediction_pb2, prediction_pb2_grpc

from ab.attribution import Graph, parse_models
from ab.record import read_record
from ab.run.options import Options
from ab.run.session import Session
from rehearsal.gateway import Executor
from rehearsal.graph import Node, Predictor
from seldon_node.hash_router import HashRouter
from tests.ab.test_failing_model import healthy
from tests.rehearsal.nodes import serving
from tests.service import Service

UNITS = [f"user {i}" for i in range(4000)]


def test_a_unit_stays_and_the_shares_hold() -> None:
    """Two replicas agree on each of 4,000 users; the counts are within 5 standard deviations."""
    one, other = (HashRouter("unit", "0.1,0.6,0.3", "test-1") for _ in range(2))
    found = [one.choose(unit) for unit in UNITS]
    assert found == [other.choose(unit) for unit in UNITS]
    counts = Counter(found)
    for child, share in enumerate((0.1, 0.6, 0.3)):
        expected, deviation = share * len(UNITS), (share * (1 - share) * len(UNITS)) ** 0.5
        assert expected == pytest.approx(counts[child], abs=5 * deviation)


def test_another_salt_divides_anew() -> None:
    """The users of one test must not all meet one side of the next one."""
    first, second = (HashRouter("unit", "1,1", salt) for salt in ("test-1", "test-2"))
    same = sum(first.choose(unit) == second.choose(unit) for unit in UNITS)
    assert len(UNITS) / 2 == pytest.approx(same, abs=5 * len(UNITS) ** 0.5 / 2)


def test_a_share_of_nothing_gets_nothing() -> None:
    """Nor is there a unit without a child."""
    assert {1} == {HashRouter("unit", "0,1,0").choose(unit) for unit in UNITS}


def test_a_request_without_the_tag_is_drawn_at_random() -> None:
    """Of 200 both children get some."""
    router = HashRouter()
    answers = [router.route_raw({"data": {}})["data"]["ndarray"][0][0] for _ in range(200)]
    assert {0, 1} == set(answers)
    assert router.route_raw({"meta": []})["data"]["ndarray"][0][0] in (0, 1)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"shares": "1"}, "shares is '1'; a number for each child"),
        ({"shares": "a,b"}, "shares is 'a,b'"),
        ({"shares": "0,0"}, "shares is '0,0'"),
        ({"shares": "-1,2"}, "shares is '-1,2'"),
        ({"shares": "nan,1"}, "shares is 'nan,1'"),
        ({"key": ""}, "key is empty"),
    ],
)
def test_a_wrong_parameter_aborts_startup(parameters: dict[str, str], message: str) -> None:
    """One sentence, as the node has it."""
    with pytest.raises(SystemExit, match=f"cannot start: {message}"):
        HashRouter(**parameters)


@pytest.fixture(scope="module")
def router() -> Iterator[Service]:
    """As the manifest starts it: the node's image, with another class."""
    variables = {"SERVICE_TYPE": "ROUTER", "PREDICTIVE_UNIT_PARAMETERS": "[]"}
    with Service("seldon_node.hash_router.HashRouter", **variables).start() as running:
        yield running


@pytest.mark.parametrize("unit", ["ann", 7, True])
def test_rest_and_grpc_choose_alike(router: Service, unit: object) -> None:
    """A number is a float over gRPC, and must be the same unit."""
    body = {"data": {"ndarray": ["a"]}, "meta": {"tags": {"unit": unit}}}
    over_rest = requests.post(router.url("/route"), json=body, timeout=60).json()
    message = prediction_pb2.SeldonMessage(strData="a")
    value = message.meta.tags["unit"]
    if isinstance(unit, bool):
        value.bool_value = unit
    elif isinstance(unit, int):
        value.number_value = unit
    else:
        value.string_value = str(unit)
    with grpc.insecure_channel(f"127.0.0.1:{router.grpc}") as channel:
        answer = prediction_pb2_grpc.RouterStub(channel).Route(message, timeout=60)
    assert over_rest["data"]["ndarray"][0][0] == answer.data.tensor.values[0]


@pytest.mark.parametrize("scheme", ["rest", "grpc"])
def test_a_run_keeps_its_units_together(tmp_path: Path, router: Service, scheme: str) -> None:
    """From the column `unit` of the reviews to the record, through the executor and back."""
    reviews = tmp_path / "reviews.tsv"
    rows = [f"{i}\treview {i}\t{('negative', 'positive')[i % 2]}\tuser {i % 8}" for i in range(40)]
    reviews.write_text("\n".join(["id\ttext\tlabel\tunit", *rows]), encoding="utf-8")
    with ExitStack() as stack:
        a, b = (stack.enter_context(serving(n, healthy(n))) for n in ("roberta", "lexicon"))
        tree = Node("hash-router", "ROUTER", "127.0.0.1", router.http, router.grpc, children=(a, b))
        executor = stack.enter_context(Executor(Predictor("default", tree)).serve())
        options = Options(
            reviews=reviews,
            record=tmp_path / "r.jsonl",
            endpoint=executor.url if scheme == "rest" else f"grpc://{executor.target}",
            graph=Graph(parse_models(["roberta", "lexicon"]), "hash-router"),
            labels=("negative", "positive"),
        )
        assert Session(options).execute(lambda _: None).done
    events = read_record(options.record).events
    met = {(e["request_tags"]["unit"], e["model"]) for e in events if e["event"] == "request"}
    assert 8 == len(met)
    assert {"roberta", "lexicon"} == {model for _, model in met}
    assert {"answered"} == {
        e["state"] for e in events if e["event"] == "feedback" and e["state"] != "sending"
    }
