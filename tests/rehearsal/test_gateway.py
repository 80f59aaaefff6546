"""The stand-in executor answers what the real one answered; nodes answer as in the recording."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from seldon_core.proto import prediction_pb2, prediction_pb2_grpc

from rehearsal import go
from rehearsal.gateway import Executor, read_seconds
from rehearsal.graph import GraphError, Node, PanicError, Predictor, read_graph
from rehearsal.nodes_rest import read_choice
from roberta_sentiment.errors import DataError
from tests import ROOT
from tests.rehearsal.nodes import GrpcAnswer, RestAnswer, Script, serving
from tests.service import free_ports

Exchange = dict[str, Any]

EXCHANGES: list[Exchange] = [
    json.loads(line)
    for line in (ROOT / "tests" / "fixtures" / "executor" / "exchanges.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]

RECORDED_PAGE = (ROOT / "tests" / "fixtures" / "executor" / "metrics-rest.txt").read_text(
    encoding="utf-8"
)

WORDS = "Go's words for broken JSON"
GRAPH_METADATA = "metadata of a whole graph"
EVENTS = "CloudEvents as requests, and the page of documentation"
SHAPES = "TRANSFORMER, OUTPUT_TRANSFORMER and COMBINER"
ANNOTATIONS = "annotations of timeouts and sizes"
LEFT_OUT = "the recording left out a body"
READY = "/ready beside a dead child: 200 here, 503 in a real pod"

MESSAGES = {
    "Predict": prediction_pb2.SeldonMessage,
    "SendFeedback": prediction_pb2.Feedback,
    "ModelMetadata": prediction_pb2.SeldonModelMetadataRequest,
}
ANSWERS = {
    "Predict": prediction_pb2.SeldonMessage,
    "SendFeedback": prediction_pb2.SeldonMessage,
    "ModelMetadata": prediction_pb2.SeldonModelMetadata,
}


def outside(exchange: Exchange) -> str | None:
    """Why the stand-in does not claim an exchange; None when it does."""
    graph, request, response = exchange["graph"], exchange["request"], exchange["response"]
    if exchange["name"] == "v2-bad-json":
        return WORDS
    if re.search(r"TRANSFORMER|COMBINER", graph):
        return SHAPES
    if "seldon.io/" in graph:
        return ANNOTATIONS
    if exchange["name"] == "metadata-graph":
        return GRAPH_METADATA
    if exchange["name"] in ("cloudevent-in", "doc"):
        return EVENTS
    bodies = (request.get("body"), response.get("body"))
    messages = (request.get("message"), response.get("message"))
    if any(isinstance(body, dict) and "base64" not in body for body in bodies):
        return LEFT_OUT
    if any(m and ("left_out" in m or "length" in m) for m in messages):
        return LEFT_OUT
    if request.get("path") == "/ready" and "lexicon dead" in graph:
        return READY
    return None


CLAIMED = [exchange for exchange in EXCHANGES if outside(exchange) is None]


def test_what_is_outside_is_counted() -> None:
    """Every exchange is replayed below, or is one of these by its kind."""
    found = Counter(reason for exchange in EXCHANGES if (reason := outside(exchange)))
    assert {
        WORDS: 1, SHAPES: 24, ANNOTATIONS: 3, GRAPH_METADATA: 8, EVENTS: 2, LEFT_OUT: 13, READY: 1
    } == found  # fmt: skip
    assert 233 == len(EXCHANGES) == len(CLAIMED) + found.total()


def _ids(exchanges: list[Exchange]) -> list[str]:
    return [f"{e['transport']}-{e['graph'].split(',')[0]}-{e['name']}" for e in exchanges]


@pytest.mark.parametrize(
    "exchange", rest := [e for e in CLAIMED if e["transport"] == "rest"], ids=_ids(rest)
)
def test_rest_exchanges(exchange: Exchange) -> None:
    """Status, headers and body byte for byte; a connection dropped where it was dropped."""
    request, expected = exchange["request"], exchange["response"]
    headers = {**request["headers"], **sent_beside(exchange)}
    with executor_of(exchange) as (executor, scripts):
        found = call(executor, request["method"], request["path"], headers, body_of(request))
    if expected["status"] is None:
        assert found is None
        return
    assert found is not None
    assert (expected["status"], without_ports(expected["body"])) == (
        found.status,
        without_ports(found.body.decode()),
    )
    assert without_puid(expected["headers"]) == without_puid(found.headers)
    puids = {found.headers[name] for name in ("Seldon-Puid", "Ce-Id") if name in found.headers}
    seen = {h["Seldon-Puid"] for script in scripts.values() for _, h in script.calls}
    assert len(puids | seen) <= 1
    assert request["headers"].get("Seldon-Puid") in (None, *puids)
    if "node_headers" in exchange:
        assert forwarded(exchange["node_headers"]) == forwarded(scripts["m"].calls[0][1])


@pytest.mark.parametrize(
    "exchange", rpc := [e for e in CLAIMED if e["transport"] == "grpc"], ids=_ids(rpc)
)
def test_grpc_exchanges(exchange: Exchange) -> None:
    """Code, details, metadata and message; the executor ends where it ended."""
    request, expected = exchange["request"], exchange["response"]
    method = request["method"].rpartition("/")[2]
    with executor_of(exchange) as (executor, _):
        found = call_grpc(executor, request, method)
        assert ("executor_process" in expected) == executor.panicked.is_set()
    if "executor_process" in expected:
        assert expected["code"] == found.code
        return
    assert (expected["code"], without_ports(expected["details"]), expected["message"]) == (
        found.code,
        without_ports(found.details),
        found.message,
    )
    assert ({}, set(expected["headers"])) == (found.trailers, set(found.headers))
    assert request["metadata"].get("seldon-puid") in (None, found.headers.get("seldon-puid"))


# The graph and its nodes, from the text of the recording.


@contextlib.contextmanager
def executor_of(exchange: Exchange) -> Iterator[tuple[Executor, dict[str, Script]]]:
    """The stand-in with the graph of an exchange, in front of nodes that answer as recorded."""
    graph = exchange["graph"]
    shape = graph.split(";")[0]
    root, _, children = shape.partition(" > ")
    is_v2 = "--protocol v2" in graph
    kind, name = root.split(", ")[0].split()[:2] if not is_v2 else ("MODEL", v2_name(graph))
    names = [child for child in re.split(", ", children) if child in ("roberta", "lexicon")]
    scripts: dict[str, Script] = {}
    with contextlib.ExitStack() as stack:

        def start(name: str, kind: str = "MODEL") -> Node:
            if f"{name} dead" in graph or "node dead" in graph:
                http_port, grpc_port = free_ports(2)
                return Node(name, kind, "localhost", http_port, grpc_port)
            scripts[name] = script_of(exchange, name, kind)
            return stack.enter_context(serving(name, scripts[name], kind))

        below = tuple(start(child) for child in names)
        if kind == "RANDOM_ABTEST":
            name, ratio = re.split(r"[()]", f"{name}(0.5)")[:2]
            tree = Node(name, "", "", ratio_a=ratio, children=below)
        else:
            tree = dataclasses.replace(start(name, kind), children=below)
        draw = 0.0 if "(1.0)" in graph else {0: 0.0, 1: 0.999}[drawn(exchange)]
        inject = "routing injection" in graph
        predictor = Predictor("default", tree, "sentiment-ab", inject_routing=inject, v2=is_v2)
        executor = Executor(predictor, draw=lambda: draw)
        yield stack.enter_context(executor.serve()), scripts


def v2_name(graph: str) -> str:
    """Of the node in the recordings with `--protocol v2`."""
    return "senti" if "MLServer" in graph else "lexicon"


def drawn(exchange: Exchange) -> int:
    """The child that answered."""
    message = answer_of(exchange)
    if "dead" in exchange["graph"] or "lexicon" in message.get("meta", {}).get("requestPath", {}):
        return 1
    return 0


def answer_of(exchange: Exchange) -> dict[str, Any]:
    """The recorded answer as a message; empty where it is none."""
    response = exchange["response"]
    if exchange["transport"] == "grpc":
        return response["message"] or {}
    with contextlib.suppress(TypeError, ValueError):
        return dict(json.loads(response["body"]))
    return {}


def script_of(exchange: Exchange, name: str, kind: str) -> Script:
    """What a node said, from what the executor made of it."""

    def rest(path: str, body: bytes) -> RestAnswer:
        if path == "/else" or "302" in exchange["name"] or "307" in exchange["name"]:
            return RestAnswer(int(exchange["name"][-3:]), b"", {"Location": "/else"})
        if path == "/route":
            return route_answer(exchange)
        if path == "/metadata" and exchange["request"]["path"].endswith("/metadata"):
            return RestAnswer(body=json.dumps(metadata_of(exchange, name)).encode())
        return rest_answer(exchange)

    def rpc(method: str, request: bytes) -> GrpcAnswer:
        if method == "Route":
            return grpc_route(exchange)
        if method == "Metadata":
            message = prediction_pb2.SeldonModelMetadata()
            found = answer_of(exchange)
            return grpc_message(found.get("models", {}).get(name, found), message)
        if exchange["response"]["code"] != "OK":
            code = getattr(grpc.StatusCode, exchange["response"]["code"])
            return GrpcAnswer(b"", code, exchange["response"]["details"])
        return grpc_message(without_routing(answer_of(exchange)), prediction_pb2.SeldonMessage())

    return Script(rest, rpc)


def rest_answer(exchange: Exchange) -> RestAnswer:
    """The node's own answer: not escaped, in its own order, with headers of its own."""
    response = exchange["response"]
    kind = {"Content-Type": "application/json"} if response["body"] else {}
    headers = {**kind, "Retry-After": "3", "X-Node": "1"}
    text = re.sub(r"\\u00(3c|3e|26)", lambda m: chr(int(m[1], 16)), response["body"] or "")
    if response["status"] != 200 or '"routing"' not in text or "feedback" in exchange["name"]:
        return RestAnswer(response["status"] or 200, text.encode(), headers)
    message = without_routing(json.loads(text))
    sent = json.loads(exchange["request"]["body"] or "{}")
    tags = {**message.get("meta", {}).get("tags", {}), **sent.get("meta", {}).get("tags", {})}
    if tags:
        message["meta"]["tags"] = dict(reversed(tags.items()))
    return RestAnswer(200, json.dumps(dict(reversed(message.items()))).encode() + b"\n", headers)


def route_answer(exchange: Exchange) -> RestAnswer:
    """What a router said."""
    graph, status = exchange["graph"], exchange["response"]["status"]
    if "fails" in graph or "router-answers" in exchange["name"]:
        return RestAnswer(status, b'{"status":{"info":"no"}}')
    return RestAnswer(body=json.dumps({"data": {"ndarray": [[router_choice(graph)]]}}).encode())


def grpc_route(exchange: Exchange) -> GrpcAnswer:
    if "fails" in exchange["graph"]:
        return GrpcAnswer(b"", grpc.StatusCode.UNKNOWN, "no")
    message = {"data": {"ndarray": [[router_choice(exchange["graph"])]]}}
    return grpc_message(message, prediction_pb2.SeldonMessage())


def router_choice(graph: str) -> int:
    found = re.search(r"always answers (-?\d+)", graph)
    return int(found[1]) if found else 0


def metadata_of(exchange: Exchange, name: str) -> dict[str, Any]:
    """A node's own metadata, recorded in another exchange where there is one."""
    for other in EXCHANGES:
        if (
            other["request"].get("path") == f"/api/v1.0/metadata/{name}"
            and "dead" not in (other["graph"])
        ):
            return {"unknown": "field", **json.loads(other["response"]["body"])}
    return dict(json.loads(exchange["response"]["body"])["models"][name])


def without_routing(message: dict[str, Any]) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(message))
    copy.get("meta", {}).pop("routing", None)
    return copy


def grpc_message(fields: dict[str, Any], message: Any) -> GrpcAnswer:
    return GrpcAnswer(json_format.ParseDict(fields, message).SerializeToString())


# Calls, and what of them is compared.


@dataclasses.dataclass(frozen=True)
class Found:
    """An answer over REST."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclasses.dataclass(frozen=True)
class FoundGrpc:
    """The end of a gRPC call."""

    code: str
    details: str
    message: dict[str, Any] | None
    headers: dict[str, str]
    trailers: dict[str, str]


def call(
    executor: Executor, method: str, path: str, headers: Mapping[str, str], body: bytes | None
) -> Found | None:
    """One call over a connection of its own; None when it was dropped without an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", executor.http_port, timeout=60)
    try:
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        return Found(answer.status, dict(answer.getheaders()), answer.read())
    except ConnectionError:
        return None
    finally:
        connection.close()


def call_grpc(executor: Executor, request: Mapping[str, Any], method: str) -> FoundGrpc:
    with grpc.insecure_channel(executor.target) as channel:
        stub = channel.unary_unary(
            f"/{request['method']}",
            lambda message: message.SerializeToString(),
            ANSWERS[method].FromString,
        )
        message = json_format.ParseDict(request["message"], MESSAGES[method]())
        metadata = tuple(request["metadata"].items())
        try:
            answer, done = stub.with_call(message, timeout=60, metadata=metadata)
        except grpc.RpcError as error:
            assert isinstance(error, grpc.Call)
            done, answer = error, None
        fields = json_format.MessageToDict(answer) if answer is not None else None
        return FoundGrpc(
            done.code().name,
            done.details() or "",
            fields,
            {k: str(v) for k, v in done.initial_metadata() or ()},
            {k: str(v) for k, v in done.trailing_metadata() or ()},
        )


def body_of(request: Mapping[str, Any]) -> bytes | None:
    body = request["body"]
    if isinstance(body, dict):
        return base64.b64decode(body["base64"])
    return body.encode() if body is not None else None


def sent_beside(exchange: Exchange) -> dict[str, str]:
    """Headers that the caller sent though the request does not list them: the node saw them."""
    return forwarded(exchange.get("node_headers", {}))


def forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    """The caller's headers at the node, without those of the connection and of tracing."""
    own = ("Host", "Content-Length", "Seldon-Puid", "Uber-Trace-Id")
    return {key: value for key, value in headers.items() if key not in own}


def without_ports(text: str) -> str:
    return re.sub(r"(localhost|127\.0\.0\.1):\d+", r"\1:PORT", text)


def without_puid(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers that say something; a puid only by its presence, a length by the body."""
    own = ("Date", "Server", "Connection", "Content-Length", "Transfer-Encoding")
    puids = ("Seldon-Puid", "Ce-Id")
    return {k: "a puid" if k in puids else v for k, v in headers.items() if k not in own}


# What no single exchange shows.


@pytest.fixture
def ab_test() -> Iterator[tuple[Predictor, dict[str, Script]]]:
    """RANDOM_ABTEST over two models that name themselves and have no `meta`."""
    scripts = {name: Script(rest=naming(name)) for name in ("roberta", "lexicon")}
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(serving(n, script)) for n, script in scripts.items()]
        tree = Node("ab", "", "", ratio_a="0.7", children=tuple(children))
        yield Predictor("default", tree, "sentiment-ab"), scripts


def naming(name: str) -> Any:
    return lambda path, body: RestAnswer(body=json.dumps({"strData": name}).encode())


def post(executor: Executor, path: str, message: Any) -> Found:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    found = call(executor, "POST", f"/api/v1.0/{path}", {"Content-Type": "application/json"}, body)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("body", "reached"),
    [
        pytest.param({"response": {"meta": {"routing": {"ab": 0}}}}, {"roberta"}, id="routed"),
        pytest.param({"response": {"meta": {}}}, {"roberta", "lexicon"}, id="no-routing"),
        pytest.param(
            {"response": {"meta": {"routing": {"ab": 0}}}, "note": 1}, {"roberta", "lexicon"},
            id="unknown-field",
        ),
        pytest.param(b"nonsense", {"roberta", "lexicon"}, id="no-JSON"),
        pytest.param(b"\xff", {"roberta", "lexicon"}, id="no-text"),
    ],
)  # fmt: skip
def test_feedback_follows_the_routing(
    ab_test: tuple[Predictor, dict[str, Script]], body: Any, reached: set[str]
) -> None:
    """Without a routing that can be read every child gets it, once; its caller gets an echo."""
    predictor, scripts = ab_test
    with Executor(predictor).serve() as executor:
        found = post(executor, "feedback", body)
    assert reached == {name for name, script in scripts.items() if script.calls}
    assert all(len(script.calls) <= 1 for script in scripts.values())
    assert (200, body if isinstance(body, bytes) else json.dumps(body).encode()) == (
        found.status,
        found.body,
    )


def test_all_children_are_called_at_once(ab_test: tuple[Predictor, dict[str, Script]]) -> None:
    """Each child waits for the other, so that one after the other would never end."""
    predictor, scripts = ab_test
    both = threading.Barrier(2)

    def wait(path: str, body: bytes) -> RestAnswer:
        both.wait(60)
        return RestAnswer()

    for script in scripts.values():
        script.rest = wait
    with Executor(predictor).serve() as executor:
        assert 200 == post(executor, "feedback", {"reward": 1.0}).status


def test_an_answer_without_meta_gets_no_routing(
    ab_test: tuple[Predictor, dict[str, Script]],
) -> None:
    """So a client must cope with it."""
    with Executor(ab_test[0], draw=lambda: 0.69).serve() as executor:
        assert b'{"strData":"roberta"}' == post(executor, "predictions", {"strData": "a"}).body


def test_the_share_is_drawn(ab_test: tuple[Predictor, dict[str, Script]]) -> None:
    """A number below ratioA takes the first child, and no other one does."""
    draws = iter([0.0, 0.699, 0.7, 0.999])
    with Executor(ab_test[0], draw=lambda: next(draws)).serve() as executor:
        found = [post(executor, "predictions", {"strData": "a"}).body for _ in range(4)]
    assert [b"roberta", b"roberta", b"lexicon", b"lexicon"] == [
        json.loads(body)["strData"].encode() for body in found
    ]


@pytest.mark.parametrize(
    "answer", [b"[1]", b'{"data":{"ndarray":[[1]]}}', b'{"data":{"tensor":{"values":[1.0]}}}']
)
def test_a_router_s_answer_is_read_in_every_form(answer: bytes) -> None:
    """A list of integers or a SeldonMessage."""
    assert 1 == read_choice(answer)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"[1.0]", GraphError), (b'{"date":1}', GraphError), (b"x", GraphError),
        (b"[]", PanicError), (b'{"strData":"1"}', PanicError),
        (b'{"data":{"ndarray":[]}}', PanicError),
    ],
)  # fmt: skip
def test_a_router_s_answer_that_can_t_be_read(answer: bytes, error: type[Exception]) -> None:
    """Some forms are an error 500, others make the executor panic."""
    with pytest.raises(error):
        read_choice(answer)


def test_json_is_written_as_go_writes_it() -> None:
    """Sorted keys, no spaces, and whole numbers without a fraction."""
    given = b'{"b": [true, null, 1.0, -0.0, 1e20, 1e21], "a": "\xc3\xa9", "c": 0.1}'
    text = '{"a":"é","b":[true,null,1,0,100000000000000000000,1e+21],"c":0.1}'
    assert text.encode() == go.dumps(go.rewrite(given))


TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
SCALARS = st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS


@settings(max_examples=50)
@given(st.recursive(SCALARS, lambda v: st.lists(v) | st.dictionaries(TEXTS, v), max_leaves=8))
def test_json_keeps_its_values(value: Any) -> None:
    """Whatever is written is read back, also after the escapes."""
    assert value == go.rewrite(go.escape_html(go.dumps(value)))


def test_a_graph_outside_the_claim_is_refused() -> None:
    """A stand-in that guessed would be believed."""
    with pytest.raises(DataError, match="node lo is TRANSFORMER; the stand-in executor knows"):
        Predictor("default", read_graph({"graph": {"name": "lo", "type": "TRANSFORMER"}}))


@contextlib.contextmanager
def engine(dead: int, *more: str) -> Iterator[tuple[subprocess.Popen[bytes], int, int]]:
    """The command as the operator renders it, with children at one port."""
    rendered = json.loads((ROOT / "tests/fixtures/executor/engine.json").read_text("utf-8"))
    http_port, grpc_port = free_ports(2)
    predictor = json.loads(base64.b64decode(rendered["env"]["ENGINE_PREDICTOR"]))
    for child in predictor["graph"]["children"]:
        child["endpoint"].update(httpPort=dead, grpcPort=dead)
    encoded = base64.b64encode(json.dumps(predictor).encode()).decode()
    ports = {"8000": str(http_port), "5001": str(grpc_port)}
    arguments = [ports.get(argument, argument) for argument in rendered["args"]]
    process = subprocess.Popen(
        [sys.executable, "-m", "rehearsal.gateway", *arguments, *more],
        cwd=ROOT, env={**os.environ, **rendered["env"], "ENGINE_PREDICTOR": encoded},
    )  # fmt: skip
    try:
        with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
            grpc.channel_ready_future(channel).result(60)
        yield process, http_port, grpc_port
    finally:
        process.kill()
        process.wait()


def test_a_panic_over_grpc_ends_the_command() -> None:
    """With the arguments and variables of a rendered seldon-container-engine."""
    (dead,) = free_ports(1)
    with (
        engine(dead) as (process, _, port),
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        stub = prediction_pb2_grpc.SeldonStub(channel)
        with pytest.raises(grpc.RpcError, match="connection refused"):
            stub.Predict(prediction_pb2.SeldonMessage(strData="a"), timeout=60)
        nobody = prediction_pb2.Feedback()
        nobody.response.meta.routing["ab"] = 2
        with pytest.raises(grpc.RpcError, match="UNAVAILABLE"):
            stub.SendFeedback(nobody, timeout=60)
        assert 2 == process.wait(60)


@pytest.mark.parametrize(("grace", "code"), [("60s", 0), ("10ms", 1)], ids=["drained", "cut"])
def test_the_command_ends_after_its_running_requests(grace: str, code: int) -> None:
    """After SIGTERM new connections are refused; what runs has the graceful timeout."""
    begun, go_on = threading.Event(), threading.Event()

    def held(path: str, body: bytes) -> RestAnswer:
        begun.set()
        go_on.wait(60)
        return RestAnswer(body=b'{"strData":"done"}')

    with (
        serving("roberta", Script(rest=held)) as node,
        engine(node.http_port, "--graceful_timeout", grace) as (process, port, _),
    ):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/api/v1.0/predictions", b"{}")
        assert begun.wait(60)
        process.terminate()
        while code == 0 and accepts(port):
            pass
        if code == 0:
            go_on.set()
            assert b'{"strData":"done"}' == connection.getresponse().read()
        assert code == process.wait(60)
        go_on.set()
        connection.close()


def accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
        return True
    return False


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10), ("1m30s", 90), ("250ms", 0.25), ("1.5h", 5400)]
)
def test_durations_are_go_s(text: str, seconds: float) -> None:
    """As the executor's own flags."""
    assert seconds == read_seconds(text)


@pytest.mark.parametrize("text", ["10", "", "s", "10 s", "-1s"])
def test_a_duration_without_a_unit_is_refused(text: str) -> None:
    """So does the executor."""
    with pytest.raises(DataError, match="is not a duration; write 10s"):
        read_seconds(text)


def test_the_series_are_those_of_the_recorded_page(
    ab_test: tuple[Predictor, dict[str, Script]],
) -> None:
    """A node that can't be reached is in the server's series and in no series of calls."""
    predictor, scripts = ab_test
    children = predictor.graph.children
    lexicon = dataclasses.replace(children[1], http_port=free_ports(1)[0])
    graph = dataclasses.replace(predictor.graph, children=(children[0], lexicon))
    draws = iter([0.0, 0.0, 0.9])
    dead = dataclasses.replace(predictor, graph=graph)
    with Executor(dead, draw=lambda: next(draws)).serve() as executor:
        assert 200 == post(executor, "predictions", {}).status
        scripts["roberta"].rest = lambda path, body: RestAnswer(415)
        assert 415 == post(executor, "predictions", {}).status
        assert 500 == post(executor, "predictions", {}).status
        for method, path in (("GET", "/api/v1.0/predictions"), ("GET", "/nowhere")):
            call(executor, method, path, {}, None)
        call(executor, "GET", "/api/v1.0/health/status", {}, None)
        page = call(executor, "GET", "/prometheus", {}, None)
    assert page is not None
    counts = {
        (sample.name.split("_")[3], sample.labels["service"], sample.labels["code"]): sample.value
        for family in text_string_to_metric_families(page.body.decode())
        for sample in family.samples
        if sample.name.endswith("_count")
    }
    assert {
        ("server", "predictions", "200"): 1, ("server", "predictions", "415"): 1,
        ("server", "predictions", "500"): 1, ("server", "status", "503"): 1,
        ("client", "/predict", "200"): 1, ("client", "/predict", "415"): 1,
    } == counts  # fmt: skip
    assert set(series_labels(page.body.decode())) <= set(series_labels(RECORDED_PAGE))


def series_labels(page: str) -> Iterator[tuple[str, ...]]:
    """Names of series with the names of their labels."""
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                yield (sample.name, *sorted(sample.labels))
