"""Every request is counted once, over REST and gRPC, and docs/metrics.md says all of it."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import grpc
import numpy as np
import pytest
from flask.testing import FlaskClient
from google.protobuf import json_format
from seldon_core import wrapper
from seldon_core.proto import prediction_pb2, prediction_pb2_grpc

from Model import Model
from roberta_sentiment.classifier import Classifier
from roberta_sentiment.errors import InferenceError
from roberta_sentiment.predictions import Predictions, Work
from seldon_node import metrics
from seldon_node.metrics_store import MetricsStore
from tests import ROOT

DOCS = ROOT / "docs" / "metrics.md"
GOOD = {"strData": "good film"}
PREDICTIONS, FEEDBACK = "/api/v1.0/predictions", "/api/v1.0/feedback"
TOLD = {"request": GOOD, "truth": {"strData": "positive"}, "reward": 1}

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
        pytest.param("POST", FEEDBACK, TOLD, one("answered", "feedback"), id="feedback"),
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
    monkeypatch.setattr(node, "_failure", "the test said so")
    assert {} == added(store, lambda: rest.get("/health/status"))


@pytest.mark.parametrize(
    ("call", "message", "expected"),
    [
        pytest.param("Predict", GOOD, one("answered", "predict"), id="prediction"),
        pytest.param(
            "Predict", {"strData": ""}, one("refused", "predict", "bad_text"), id="empty"
        ),
        pytest.param("SendFeedback", TOLD, one("answered", "feedback"), id="feedback"),
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
    """Also one of our own that nobody foresaw."""
    calls: dict[str, tuple[str, dict[str, Any], Any]] = {
        "predict": (PREDICTIONS, GOOD, stub.Predict),
        "feedback": (FEEDBACK, TOLD, stub.SendFeedback),
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
    monkeypatch.setattr(Model, "_check_model", lambda *_: None)
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
    assert 400 == rest.post(FEEDBACK, json={**TOLD, "truth": {"strData": "great"}}).status_code
    assert before == counted()
    for reward in (0, 2, -1):
        assert 200 == rest.post(FEEDBACK, json={**TOLD, "reward": reward}).status_code
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


def test_many_labels_begin_without_their_table() -> None:
    """A thousand labels would be a million series of zeros."""
    begun = metrics.known([str(n) for n in range(1000)])
    assert 1000 == sum(m["key"] == "sentiment_texts" for m in begun["predict"])
    assert not any(m["key"] == "sentiment_feedback" for m in begun["feedback"])


def test_the_page_in_the_docs_is_true() -> None:
    """Name, type, labels and meaning of every metric, as the page itself says them."""
    text = DOCS.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) ?\| (.+) \|$", text, re.MULTILINE)
    told = [
        (name.removesuffix("_total") if kind == "counter" else name, kind, labels, meaning)
        for name, kind, labels, meaning in rows
    ]
    assert [
        (d.name, d.type, ", ".join(f"`{label}`" for label in d.labels), d.help)
        for d in metrics.DEFINITIONS
    ] == told


# What one event adds -------------------------------------------------------------------------


def by_name(added: list[metrics.Metric]) -> dict[str, Any]:
    """Values by name, with the labels behind it where there are some."""
    return {
        " ".join([metric["key"].removeprefix("sentiment_"), *metric["tags"].values()]): (
            metric["value"]
        )
        for metric in added
    }


def test_an_answer_adds_its_texts_tokens_and_times() -> None:
    """Milliseconds, of which the wrapper makes seconds; texts by their best label."""
    work = Work(batches=2, tokens=30, padding=4, tokenize_s=0.5, queue_s=0.25, infer_s=2)
    logits = np.array([[1, 0], [0, 1], [0, 2]], np.float32)
    answer = Predictions(("bad", "good"), logits, [9, 9, 12], [0, 2], work)
    expected = {
        "texts bad": 1, "texts good": 2, "answered_requests": 1, "tokens": 30, "padding_tokens": 4,
        "batches": 2, "truncated_texts": 2, "tokenize_seconds": 500, "queue_seconds": 250,
        "infer_seconds": 2000,
    }  # fmt: skip
    assert expected == by_name(metrics.of_predictions(answer))
    whole = dataclasses.replace(answer, truncated=[])
    del expected["truncated_texts"]
    assert expected == by_name(metrics.of_predictions(whole))


def test_a_request_without_an_answer_adds_a_refusal_or_what_was_dropped() -> None:
    """A dropped one counts once, however many tokens it had."""
    assert {"refused_requests too_large": 1} == by_name(metrics.of_refusal("TOO_LARGE"))
    assert {"dropped_requests": 1, "dropped_tokens": 70} == by_name(metrics.of_dropped(70))
    assert {"worker_restarts rest hung": 1} == by_name(metrics.of_restart("rest", "hung"))
    assert {"answered_requests": 1, "foreign_feedback": 1} == (
        by_name(metrics.of_foreign_feedback())
    )


@pytest.mark.parametrize(
    ("reward", "rewarded"),
    [
        (0.0, {"seldon_api_model_feedback": 1, "seldon_api_model_feedback_reward": 0}),
        (2.5, {"reward_sum positive": 2.5, "seldon_api_model_feedback": 1,
               "seldon_api_model_feedback_reward": 2.5}),
        (-2.5, {"reward_sum negative": 2.5}),
    ],
)  # fmt: skip
def test_feedback_adds_its_pairs_and_its_reward(reward: float, rewarded: dict[str, float]) -> None:
    """A counter can't fall, so a negative reward has a sum of its own, and Seldon's has none."""
    pairs = [("bad", "good"), ("good", "good"), ("bad", "good")]
    expected = {"feedback bad good": 2, "feedback good good": 1}
    expected |= {"answered_requests": 1, "rewards": 1}
    assert expected | rewarded == by_name(metrics.of_feedback(pairs, reward))


def test_feedback_on_values_adds_their_distances() -> None:
    """Absolute and squared, of which follow the usual means."""
    found = by_name(metrics.of_feedback([], -1, [-3.0, 1.0]))
    expected = {"feedback_values": 2, "feedback_absolute_error": 4, "feedback_squared_error": 10}
    assert expected | {"answered_requests": 1, "rewards": 1, "reward_sum negative": 1} == found


@pytest.mark.parametrize(("classes", "pairs"), [(2, 4), (12, 144), (13, 0)])
def test_every_known_series_begins_at_zero(classes: int, pairs: int) -> None:
    """A rate can be taken from the first event on; a large table of truths is left out."""
    known = metrics.known([f"label{i}" for i in range(classes)])
    assert {0} == {metric["value"] for each in known.values() for metric in each}
    names = {method: [metric["key"] for metric in each] for method, each in known.items()}
    assert classes == names["predict"].count("sentiment_texts")
    assert pairs == names["feedback"].count("sentiment_feedback")
    assert {
        d.name for d in metrics.DEFINITIONS if classes < 13 or d.name != "sentiment_feedback"
    } == ({name for each in names.values() for name in each})
    texts = {d.name for d in metrics.DEFINITIONS if d.type == "histogram"}
    timers = {m["key"] for each in known.values() for m in each if m["type"] == "TIMER"}
    assert texts == timers


def test_nothing_is_counted_before_there_is_a_store() -> None:
    """The wrapper makes it after the model; its own count of rewards is left out."""
    recorder = metrics.Recorder()
    recorder.record(metrics.of_refusal("TOO_LARGE"), "predict")
    calls: list[Any] = []
    store = SimpleNamespace(
        update=lambda *given: calls.append(given), update_reward=lambda reward: calls.append(reward)
    )
    recorder.connect(store, ["bad"])
    recorder.record(metrics.of_refusal("TOO_LARGE"), "feedback")
    store.update_reward(1.0)
    assert [(metrics.of_refusal("TOO_LARGE"), "feedback")] == calls
