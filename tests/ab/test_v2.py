"""The Open Inference Protocol: over REST and gRPC, by the executor, Seldon Core 2 and others."""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest

from ab.attribution import Graph, parse_models
from ab.endpoint import parse_endpoint
from ab.errors import EndpointError
from ab.record import read_record
from ab.report.analysis import analyse
from ab.run.options import Pace
from ab.stats.power import TestPlan
from ab.transport import proto_v2
from ab.wire import BadAnswer, read_answer
from ab.wire_v2 import as_seldon, infer_request
from rehearsal.gateway import Executor
from rehearsal.graph import Node, Predictor
from tests import ROOT
from tests.ab.running import execute, lines, options, run_ab, write_reviews
from tests.manifests.document import read
from tests.rehearsal.nodes import GrpcAnswer, RestAnswer, Script, serving

LABELS = ("negative", "positive")
SCORES = {"name": "probabilities", "shape": [1, 2], "datatype": "FP64", "data": [0.25, 0.75]}
LABEL = {"name": "label", "shape": [1], "datatype": "BYTES", "data": ["positive"]}


def answered(*outputs: Mapping[str, Any], **changed: Any) -> dict[str, Any]:
    """The answer of a V2 server."""
    named = {"model_name": "sentiment", "model_version": "3", "id": "p"}
    return {**named, "outputs": list(outputs or (SCORES, LABEL)), **changed}


@pytest.mark.parametrize(
    "outputs",
    [
        pytest.param([SCORES, LABEL], id="ours"),
        pytest.param([{**SCORES, "data": [[0.25, 0.75]]}], id="nested"),
        pytest.param(
            [{"name": "output", "datatype": "BYTES", "data": [
                '[{"label": "positive", "score": 0.75}, {"label": "negative", "score": 0.25}]'
            ]}],
            id="pipeline",
        ),
    ],
)  # fmt: skip
def test_an_answer_is_read(outputs: list[dict[str, Any]]) -> None:
    """With or without the label, and as a transformers pipeline gives it."""
    answer = read_answer(as_seldon(answered(*outputs)), LABELS, "p")
    assert {"negative": 0.25, "positive": 0.75} == dict(
        zip(answer.names, answer.scores, strict=True)
    )
    assert ("positive", "sentiment") == (answer.predicted, answer.tags["served_as"])


@pytest.mark.parametrize(
    ("said", "truncated"), [("[0]", True), ("[]", False), ([0], True), ("x", None), (None, None)]
)
def test_a_truncated_text_is_known(said: object, truncated: bool | None) -> None:
    """The door writes the list as text, because V2 over gRPC has no lists."""
    answer = as_seldon(answered(parameters={"truncated": said}))
    assert truncated is read_answer(answer, LABELS).truncated


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (answered(SCORES, {**LABEL, "data": ["negative"]}), "in the order of the model's outputs"),
        (answered(id="q"), "another request"),
        (answered({**SCORES, "data": [0.2]}), "not 2 probabilities"),
        (answered({"name": "output", "datatype": "BYTES", "data": ["positive"]}), "data.names"),
        (answered({"name": "output", "datatype": "BYTES", "data": 3}), "data.names"),
        (answered(outputs="x"), "data.names"),
        (answered(outputs=[1]), "data.names"),
        ({"error": "no such model"}, "data.names"),
    ],
)
def test_an_answer_that_can_t_be_counted_is_reported(answer: dict[str, Any], message: str) -> None:
    """V2 does not name the columns, so a wrong order of labels has to be found."""
    with pytest.raises(BadAnswer, match=message):
        read_answer(as_seldon(answer), LABELS, "p")


@pytest.mark.parametrize(
    ("declared", "changed", "route", "by"),
    [
        (["mini", "b"], {"parameters": {"model_name": "mini"}}, "", "tags"),
        (["sentiment", "b"], {}, "", "server"),
        (["sentiment/3", "sentiment/4"], {}, "", "server"),
        (["a", "b"], {"model_name": "a_2", "model_version": "2"}, ":a_2:", "server"),
        (["a", "b"], {"model_name": "x"}, ":a_2:", "x-seldon-route"),
        (["a_2", "b"], {"model_name": "x"}, ":pipe.pipeline:a_2:", "x-seldon-route"),
    ],
    ids=["tag", "name", "version", "core-2", "route", "route of a pipeline"],
)
def test_each_sign_of_a_model_is_read(
    declared: list[str], changed: dict[str, Any], route: str, by: str
) -> None:
    """Seldon Core 2 serves the second version of `a` as `a_2`, and says so in a header, too."""
    answer = read_answer(as_seldon(answered(**changed), route), LABELS)
    found = Graph(parse_models(declared)).attribute(answer)
    assert (declared[0], by) == (found.model, found.by)


def test_signs_that_differ_are_a_contradiction() -> None:
    """The header and the body come from two programs."""
    found = Graph(parse_models(["a", "b"])).attribute(
        read_answer(as_seldon(answered(model_name="a"), ":b_1:"), LABELS)
    )
    assert (None, "contradiction: server says a; x-seldon-route says b") == (found.model, found.by)


@pytest.mark.parametrize(
    ("url", "model", "version", "infer"),
    [
        ("http://h/v2/models/a", "a", "", "http://h/v2/models/a/infer"),
        ("http://h/v2/models/a/infer", "a", "", "http://h/v2/models/a/infer"),
        ("http://h/v2/models/infer", "", "", "http://h/v2/models/infer"),
        ("http://h/v2/models", "", "", "http://h/v2/models/infer"),
        ("http://h/seldon/n/d/v2/models/a/versions/2/infer", "a", "2",
         "http://h/seldon/n/d/v2/models/a/versions/2/infer"),
        ("grpc://h:1/seldon/n/d/v2/models/a", "a", "", "http://h:1/seldon/n/d/v2/models/a/infer"),
    ],
)  # fmt: skip
def test_an_address_says_the_protocol(url: str, model: str, version: str, infer: str) -> None:
    """What works in curl works here."""
    endpoint = parse_endpoint(url)
    assert (model, version, infer) == (endpoint.model, endpoint.version, endpoint.infer)


def test_headers_go_with_every_request() -> None:
    """KServe's ingress routes by Host, Seldon Core 2's by Seldon-Model."""
    headers = parse_endpoint("http://h/v2/models/a", ["Host=x.org", "seldon-model=e.experiment"])
    assert {"seldon-model": "e.experiment", "Host": "x.org"} == dict(headers.headers)
    assert {"seldon-model": "a"} == dict(parse_endpoint("grpc://h:1/v2/models/a").metadata)
    with pytest.raises(EndpointError, match="--header is NAME=VALUE"):
        parse_endpoint("http://h/v2/models/a", ["Host"])


def messages() -> Any:
    """MLServer's own classes of the protocol, read from its environment."""
    found = [*ROOT.glob(".venv-oip/lib/python*/site-packages/mlserver/grpc/dataplane_pb2.py")]
    if not found:
        pytest.skip("MLServer's environment is missing; make serve-oip makes it")
    spec = importlib.util.spec_from_file_location("dataplane_pb2", found[0])
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_messages_are_those_of_the_protocol() -> None:
    """A request as MLServer reads it, and its answer as we do, typed and raw."""
    theirs = messages()
    sent = infer_request({"data": {"ndarray": ["a text é"]}, "meta": {"puid": "p"}})
    request = theirs.ModelInferRequest.FromString(proto_v2.request(sent, "m", "2"))
    assert ("m", "2", "p", [1]) == (
        request.model_name, request.model_version, request.id, list(request.inputs[0].shape),
    )  # fmt: skip
    assert ["a text é".encode()] == list(request.inputs[0].contents.bytes_contents)

    answer = theirs.ModelInferResponse(model_name="m", model_version="2", id="p")
    answer.parameters["model_name"].string_param = "mini"
    answer.outputs.add(name="probabilities", datatype="FP64", shape=[1, 2])
    answer.outputs.add(name="label", datatype="BYTES", shape=[1])
    raw = theirs.ModelInferResponse.FromString(answer.SerializeToString())
    answer.outputs[0].contents.fp64_contents.extend([0.25, 0.75])
    answer.outputs[1].contents.bytes_contents.append(b"positive")
    raw.raw_output_contents.extend(
        [bytes.fromhex("000000000000d03f000000000000e83f"), b"\x08\0\0\0positive"]
    )
    for message in (answer, raw):
        found = read_answer(as_seldon(proto_v2.response(message.SerializeToString())), LABELS, "p")
        assert ((0.25, 0.75), "mini") == (found.scores, found.tags["model_name"])


def model(name: str) -> Script:
    """A V2 node that knows which reviews are positive."""

    def outputs(text: str) -> list[dict[str, Any]]:
        positive = int(text.rpartition(" ")[2]) % 2
        scores = [0.1, 0.9] if positive else [0.9, 0.1]
        return [{**SCORES, "data": scores}, {**LABEL, "data": [LABELS[positive]]}]

    def rest(path: str, body: bytes) -> RestAnswer:
        sent = json.loads(body)
        answer = answered(*outputs(sent["inputs"][0]["data"][0]), model_name=name, id=sent["id"])
        return RestAnswer(body=json.dumps(answer).encode())

    def rpc(method: str, request: bytes) -> GrpcAnswer:
        theirs = messages()
        sent = theirs.ModelInferRequest.FromString(request)
        scores, label = outputs(sent.inputs[0].contents.bytes_contents[0].decode())
        answer = theirs.ModelInferResponse(model_name=name, model_version="3", id=sent.id)
        tensor = answer.outputs.add(name="probabilities", datatype="FP64", shape=[1, 2])
        tensor.contents.fp64_contents.extend(scores["data"])
        answer.outputs.add(name="label", datatype="BYTES").contents.bytes_contents.append(
            label["data"][0].encode()
        )
        return GrpcAnswer(answer.SerializeToString())

    return Script(rest, rpc)


@contextmanager
def ab_test(**scripts: Script) -> Iterator[tuple[Executor, list[Node]]]:
    """The stand-in executor with `protocol: v2` over these models."""
    draws = iter([0.0, 0.9] * 50)
    with ExitStack() as stack:
        nodes = [stack.enter_context(serving(name, each)) for name, each in scripts.items()]
        tree = Node("ab", "", "", ratio_a="0.5", children=tuple(nodes))
        predictor = Predictor("default", tree, v2=True)
        yield stack.enter_context(Executor(predictor, draw=lambda: next(draws)).serve()), nodes


@pytest.mark.parametrize("scheme", ["rest", "grpc"])
def test_a_run_is_judged_by_the_truths_of_its_record(tmp_path: Path, scheme: str) -> None:
    """Through the executor, without a name in the path so that each node gets its own."""
    scripts = {name: model(name) for name in ("roberta", "lexicon")}
    if scheme == "grpc":
        messages()
    with ab_test(**scripts) as (executor, _):
        base = executor.url if scheme == "rest" else f"grpc://{executor.target}"
        given = options(
            write_reviews(tmp_path / "reviews.tsv", 20), f"{base}/v2/models/infer",
            models=["roberta", "lexicon"], pace=Pace(0.0, 1, 0),
        )  # fmt: skip
        execute(given)
    analysis = analyse(read_record(given.record), TestPlan())
    assert [("roberta", 10, 10), ("lexicon", 10, 10)] == [
        (each.name, each.judged, each.right) for each in analysis.models
    ]
    assert {"server"} == {line["by"] for line in lines(given, "request").values()}
    assert {} == lines(given, "feedback")
    path = "/v2/models/roberta/infer" if scheme == "rest" else proto_v2.INFER
    assert {path} == {path for path, _ in scripts["roberta"].calls}


def test_a_dead_model_is_named_by_its_port(tmp_path: Path) -> None:
    """As in Seldon's protocol, whose error the executor writes in V2, too."""
    with ab_test(roberta=model("roberta"), lexicon=model("lexicon")) as (_, nodes):
        dead = Script(lambda path, body: RestAnswer(500, b'{"error":"model failed"}'))
        with serving("lexicon", dead) as node:
            pass
        tree = Node("ab", "", "", ratio_a="0.0", children=(nodes[0], node))
        with Executor(Predictor("default", tree, v2=True)).serve() as broken:
            given = options(
                write_reviews(tmp_path / "reviews.tsv", 2), f"{broken.url}/v2/models/infer",
                models=["roberta", "lexicon"], tries=1, ports={node.http_port: "lexicon"},
            )  # fmt: skip
            execute(given)
    assert ["lexicon"] * 2 == [e["failed"][0]["model"] for e in lines(given, "request").values()]


def test_a_call_that_the_executor_lacks_ends_it() -> None:
    """ServerLive, ServerReady and ServerMetadata; a probe must not use them."""
    with (
        ab_test(roberta=model("roberta"), lexicon=model("lexicon")) as (executor, _),
        grpc.insecure_channel(executor.target) as channel,
    ):
        live = channel.unary_unary("/inference.GRPCInferenceService/ServerLive", bytes, bytes)
        with pytest.raises(grpc.RpcError, match="UNAVAILABLE"):
            live(b"", timeout=60)
        assert executor.panicked.wait(60)


@pytest.fixture
def core_2() -> Iterator[tuple[str, list[Mapping[str, str]]]]:
    """Seldon Core 2: the header alone says which model of the experiment answered."""
    seen: list[Mapping[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append(dict(self.headers))
            body = json.dumps(answered(model_name="x", id=sent["id"])).encode()
            self.send_response(200)
            self.send_header(
                "x-seldon-route", [":sentiment_4:", ":sentiment-next_1:"][len(seen) % 2]
            )
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v2/models/sentiment", seen
    server.shutdown()
    server.server_close()


def test_an_experiment_of_seldon_core_2(
    tmp_path: Path, core_2: tuple[str, list[Mapping[str, str]]]
) -> None:
    """From the command line: found by its header, attributed by its route."""
    url, seen = core_2
    (experiment,) = (
        each
        for each in read(ROOT / "deploy" / "oip" / "seldon-core-2.yaml")
        if each["kind"] == "Experiment"
    )
    models = [each["name"] for each in experiment["spec"]["candidates"]]
    assert ["sentiment", "sentiment-next"] == models
    declared = [part for name in models for part in ("--models", name)]
    record = tmp_path / "record.jsonl"
    reviews = write_reviews(tmp_path / "reviews.tsv", 6)
    run = run_ab(
        "run", reviews, "--endpoint", url, "--record", record, *declared, "--header", "X=1"
    )
    assert 0 == run.code, run.err
    assert {("sentiment", "1")} == {(h["Seldon-Model"], h["X"]) for h in seen}
    found = [e["model"] for e in read_record(record).events if e["event"] == "request"]
    assert sorted(models * 3) == sorted(found)


def test_two_v2_endpoints_are_compared(tmp_path: Path) -> None:
    """A text for each, from the command line."""
    with (
        serving("roberta", model("roberta")) as a,
        serving("lexicon", model("lexicon")) as b,
    ):
        urls = [f"http://localhost:{n.http_port}/v2/models/{n.name}" for n in (a, b)]
        found = run_ab(
            "compare", *urls, "--reviews", write_reviews(tmp_path / "reviews.tsv", 12),
            "--json", tmp_path / "c.json",
        )  # fmt: skip
    assert 0 == found.code, found.err
    document = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    assert ("roberta", "lexicon", 12) == (document["a"], document["b"], document["pairs"]["both"])


def test_other_names_of_labels_are_mapped_in_a_run(tmp_path: Path) -> None:
    """In the file of reviews and in the answers alike, by one option."""

    def rest(path: str, body: bytes) -> RestAnswer:
        label = {**LABEL, "data": ["LABEL_1"]}
        return RestAnswer(
            body=json.dumps(answered(SCORES, label, id=json.loads(body)["id"])).encode()
        )

    reviews = tmp_path / "reviews.tsv"
    reviews.write_text("text\tlabel\nfine film\tgood\n", encoding="utf-8")
    record = tmp_path / "record.jsonl"
    with serving("sentiment", Script(rest)) as node:
        run = run_ab(
            "run", reviews, "--endpoint", f"http://localhost:{node.http_port}/v2/models/sentiment",
            "--record", record, "--models", "sentiment",
            "--label-map", "LABEL_0=negative,LABEL_1=positive,good=positive",
        )  # fmt: skip
    assert 0 == run.code, run.err
    (line,) = [e for e in read_record(record).events if e["event"] == "request"]
    assert ("answered", "positive", "positive") == (
        line["outcome"], line["truth"], line["predicted"],
    )  # fmt: skip
