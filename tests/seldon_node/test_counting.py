"""Every request is counted once, over REST and gRPC."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import grpc
import pytest
from flask.testing import FlaskClient
from google.protobuf import json_format
from seldon_core import wrapper
from seldon_core.proto import prediction_pb2, prediction_pb2_grpc

from Model import Model
from roberta_sentiment.classifier import Classifier
from roberta_sentiment.errors import InferenceError
from roberta_sentiment.serving import metrics
from roberta_sentiment.serving.health import ModelHealth
from seldon_node.metrics_store import MetricsStore
from tests import ROOT

DOCS = ROOT / "docs" / "metrics.md"
GOOD = {"strData": "good film"}
PREDICTIONS, FEEDBACK = "/api/v1.0/predictions", "/api/v1.0/feedback"
CORRECTED = {"request": GOOD, "truth": {"strData": "positive"}, "reward": 1}

Requests = dict[tuple[str, ...], float]


@pytest.fixture(scope="module")
def store() -> MetricsStore:
    return MetricsStore()


@pytest.fixture(scope="module")
def node(toy_path: Path) -> Model:
    node = Model(model_uri=str(toy_path), window_overlap=8, max_body_bytes=4096)
    node.load()
    return node


@pytest.fixture(scope="module")
def rest(node: Model, store: MetricsStore) -> FlaskClient:
    """The REST side inside this process."""
    client: FlaskClient = wrapper.get_rest_microservice(node, store).test_client()
    return client


@pytest.fixture(scope="module")
def stub(node: Model, store: MetricsStore) -> Iterator[prediction_pb2_grpc.SeldonStub]:
    """The gRPC side inside this process."""
    server = wrapper.get_grpc_server(node, store)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield prediction_pb2_grpc.SeldonStub(channel)
    server.stop(0).wait()


def requests_in(store: MetricsStore) -> Requests:
    """Requests that were counted: answered or refused, method, and reason of a refusal."""
    found: Requests = {}
    for (_, name, labels), numbers in store.totals().items():
        if name.endswith("_requests"):
            by = dict(labels)
            outcome = name.removeprefix("sentiment_").removesuffix("_requests")
            found[(outcome, by["method"], by.get("reason", ""))] = numbers[0]
    return found


def added(store: MetricsStore, call: Callable[[], object]) -> Requests:
    """What a call adds to the counted requests."""
    before = requests_in(store)
    call()
    after = requests_in(store)
    return {key: n - before.get(key, 0) for key, n in after.items() if n != before.get(key, 0)}


def one(outcome: str, method: str, reason: str = "") -> Requests:
    return {(outcome, method, reason): 1}


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        pytest.param("POST", PREDICTIONS, GOOD, one("answered", "predict"), id="prediction"),
        pytest.param("POST", "/predict", GOOD, one("answered", "predict"), id="from the executor"),
        pytest.param(
            "POST", PREDICTIONS, {"strData": ""}, one("refused", "predict", "bad_text"), id="empty"
        ),
        pytest.param(
            "POST", PREDICTIONS, "{", one("refused", "predict", "bad_request"), id="no JSON"
        ),
        pytest.param(
            "POST", PREDICTIONS, {"strData": "a" * 5000},
            one("refused", "predict", "body_too_large"), id="large",
        ),
        pytest.param("POST", FEEDBACK, CORRECTED, one("answered", "feedback"), id="feedback"),
        pytest.param(
            "POST", FEEDBACK, {"reward": 1e9}, one("refused", "feedback", "bad_feedback"),
            id="refused feedback",
        ),
        pytest.param(
            "POST", "/send-feedback", "[", one("refused", "feedback", "bad_request"),
            id="feedback, no JSON",
        ),
        pytest.param("GET", "/nowhere", None, one("refused", "other", "not_found"), id="404"),
        pytest.param(
            "DELETE", "/predict", None, one("refused", "other", "method_not_allowed"), id="405"
        ),
        pytest.param("GET", "/health/status", None, {}, id="green probe"),
        pytest.param("GET", "/health/ping", None, {}, id="ping"),
        pytest.param("GET", "/metadata", None, {}, id="metadata"),
    ],
)  # fmt: skip
def test_each_rest_request_is_counted_once(
    rest: FlaskClient, store: MetricsStore, method: str, path: str, body: Any, expected: Requests
) -> None:
    """Answered or refused, under what it asked for; probes are no traffic."""
    data = body if body is None or isinstance(body, str) else json.dumps(body)
    headers = {"Content-Type": "application/json"}
    assert expected == added(
        store, lambda: rest.open(path, method=method, data=data, headers=headers)
    )


def test_a_red_probe_is_no_refused_request(
    rest: FlaskClient, store: MetricsStore, node: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kubernetes asks every few seconds; that must not look like callers who are refused."""
    monkeypatch.setattr(node.health, "problem", "the test said so")
    assert {} == added(store, lambda: rest.get("/health/status"))


@pytest.mark.parametrize(
    ("call", "message", "expected"),
    [
        pytest.param("Predict", GOOD, one("answered", "predict"), id="prediction"),
        pytest.param(
            "Predict", {"strData": ""}, one("refused", "predict", "bad_text"), id="empty"
        ),
        pytest.param("SendFeedback", CORRECTED, one("answered", "feedback"), id="feedback"),
        pytest.param(
            "SendFeedback", {"reward": 1e9}, one("refused", "feedback", "bad_feedback"),
            id="refused feedback",
        ),
        pytest.param("ModelMetadata", {}, {}, id="metadata"),
    ],
)  # fmt: skip
def test_each_grpc_call_is_counted_once(
    stub: Any,
    store: MetricsStore,
    call: Literal["Predict", "SendFeedback", "ModelMetadata"],
    message: Any,
    expected: Requests,
) -> None:
    """The same numbers as over REST."""
    kind = {
        "Predict": prediction_pb2.SeldonMessage,
        "SendFeedback": prediction_pb2.Feedback,
        "ModelMetadata": prediction_pb2.SeldonModelMetadataRequest,
    }[call]

    def ask() -> None:
        try:
            getattr(stub, call)(json_format.ParseDict(message, kind()), timeout=60)
        except grpc.RpcError as error:
            assert expected, error

    assert expected == added(store, ask)


@pytest.mark.parametrize("fault", [InferenceError("broken"), ValueError("broken")], ids=repr)
@pytest.mark.parametrize("kind", ["predict", "feedback"])
@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_a_failure_is_counted_once(
    rest: FlaskClient,
    stub: Any,
    store: MetricsStore,
    monkeypatch: pytest.MonkeyPatch,
    fault: Exception,
    kind: str,
    transport: str,
) -> None:
    """Also an unexpected one of our own."""
    calls: dict[str, tuple[str, dict[str, Any], Any]] = {
        "predict": (PREDICTIONS, GOOD, stub.Predict),
        "feedback": (FEEDBACK, CORRECTED, stub.SendFeedback),
    }
    path, body, call = calls[kind]
    message = prediction_pb2.SeldonMessage if kind == "predict" else prediction_pb2.Feedback

    def broken(*_: object) -> None:
        raise fault

    def ask() -> None:
        if transport == "rest":
            assert 500 == rest.post(path, json=body).status_code
        else:
            with pytest.raises(grpc.RpcError):
                call(json_format.ParseDict(body, message()), timeout=60)

    monkeypatch.setattr(Classifier, "classify", broken)
    monkeypatch.setattr(ModelHealth, "check_model", lambda *_: None)
    assert one("refused", kind, "inference_failed") == added(store, ask)


def test_seldons_own_counters_take_no_refused_feedback(
    rest: FlaskClient, store: MetricsStore
) -> None:
    """A caller that corrects its feedback and sends it again would count twice."""

    def counted() -> list[float]:
        names = ("seldon_api_model_feedback", "seldon_api_model_feedback_reward")
        totals = {name: numbers[0] for (_, name, _), numbers in store.totals().items()}
        return [totals[name] for name in names]

    before = counted()
    assert 400 == rest.post(FEEDBACK, json={**CORRECTED, "truth": {"strData": "great"}}).status_code
    assert before == counted()
    for reward in (0, 2, -1):
        assert 200 == rest.post(FEEDBACK, json={**CORRECTED, "reward": reward}).status_code
    assert [2, 2] == [after - old for after, old in zip(counted(), before, strict=True)]


def test_a_node_begins_with_zeros(toy_path: Path) -> None:
    """Before its model is loaded: an alert can't see a series that never began."""
    store = MetricsStore()
    wrapper.get_rest_microservice(Model(model_uri=str(toy_path), window_overlap=8), store)
    begun = {(name, *(v for _, v in labels)) for _, name, labels in store.totals()}
    assert {
        ("sentiment_texts", "negative", "predict"),
        ("sentiment_texts", "positive", "predict"),
        ("sentiment_feedback", "feedback", "negative", "positive"),
        ("sentiment_refused_requests", "predict", "overloaded"),
        ("sentiment_refused_requests", "predict", "not_ready"),
        ("sentiment_refused_requests", "feedback", "bad_feedback"),
        ("sentiment_reward_sum", "feedback", "negative"),
        ("sentiment_infer_seconds", "predict"),
    } <= begun
    assert {d.name for d in metrics.DEFINITIONS} == {name for name, *_ in begun}
    assert not any(sum(numbers) for numbers in store.totals().values())
