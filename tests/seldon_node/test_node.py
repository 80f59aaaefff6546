"""The node inside Python, before any server: states, faults and the array interface."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format
from seldon_core.proto import prediction_pb2

from Model import Model
from roberta_sentiment.caller import Caller, serving
from roberta_sentiment.classifier import Classifier, load_classifier
from roberta_sentiment.errors import CallerGoneError, InferenceError, OverloadedError
from seldon_node.node import NodeError
from tests import toy


@pytest.fixture
def unloaded(toy_path: Path) -> Model:
    return Model(model_uri=str(toy_path), window_overlap=8)


@pytest.fixture
def node(unloaded: Model) -> Model:
    unloaded.load()
    return unloaded


def test_health_is_red_before_the_warm_up(unloaded: Model) -> None:
    """A half-loaded server must not get traffic, and says what it waits for."""
    with pytest.raises(NodeError) as caught:
        unloaded.health_status()
    assert 503 == caught.value.status_code
    assert "not ready: the model is still loading" == str(caught.value)
    status = unloaded.predict_raw({"strData": "good"})["status"]
    assert (503, "NOT_READY") == (status["code"], status["reason"])


def test_a_label_map_to_a_label_of_another_model_aborts_startup(tmp_path: Path) -> None:
    """Its feedback would be refused one by one, long after the deployment."""
    path = toy.write(tmp_path / "model")
    with pytest.raises(
        SystemExit, match="cannot start: label_map: 'good' is not a label; labels are "
    ):
        Model(model_uri=str(path), label_map="LABEL_1=good")


@pytest.mark.parametrize("moment", ["before", "meanwhile"])
def test_a_model_that_changes_before_it_is_loaded_is_not_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, moment: str
) -> None:
    """Its answers would go out under the version and labels of the one that was checked."""
    path = toy.write(tmp_path / "model")
    model = Model(model_uri=str(path))
    swapped = '{"id2label": {"0": "good", "1": "bad"}, "vocab_size": 300}'

    def load(*arguments: Any) -> Classifier:
        classifier = load_classifier(*arguments)
        (path / "config.json").write_text(swapped)
        return classifier

    if moment == "before":
        (path / "config.json").write_text(swapped)
    else:
        monkeypatch.setattr("Model.load_classifier", load)
    with pytest.raises(SystemExit):
        model.load()
    assert "cannot start" in caplog.text
    assert "restart to serve it" in caplog.text
    with pytest.raises(NodeError, match="not ready"):
        model.health_status()


def test_the_garbage_collector_leaves_the_model_alone(node: Model) -> None:
    """Walking through all that was loaded at start would stop every request for a moment."""
    assert all(found is not node._classifier for found in gc.get_objects())


def test_health_is_green_after_it(node: Model) -> None:
    """The counterpart: a loaded node is ready."""
    assert "ready" == node.health_status()


@pytest.mark.parametrize(
    "texts",
    [
        pytest.param(["good film"], id="list"),
        pytest.param(np.array(["good film"]), id="array"),
        pytest.param(np.array([["good film"]]), id="n x 1 array"),
        pytest.param("good film", id="text"),
        pytest.param(b"good film", id="bytes"),
        pytest.param([[0, 266, 269, 2]], id="ids"),
    ],
)
def test_predict_takes_arrays(node: Model, texts: Any) -> None:
    """Seldon's contract: a caller inside Python passes arrays and gets one back."""
    response = node.predict(texts, [])
    assert (1, 2) == response.data.shape
    assert "toy" == response.tags["model_name"]


def test_predict_raises_what_the_wrapper_understands(node: Model) -> None:
    """Status and sentence must survive the way through the wrapper."""
    with pytest.raises(NodeError, match="text 1 is the number 5") as caught:
        node.predict(["good", 5], [])
    assert (400, "BAD_PAYLOAD") == (caught.value.status_code, caught.value.reason)


def test_a_fault_of_our_own_leaks_nothing(node: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug is a 500 whose text holds no path and no trace."""

    def broken(*_: object) -> None:
        raise AttributeError("/secret/path")

    monkeypatch.setattr(Classifier, "classify", broken)
    status = node.predict_raw({"strData": "good"})["status"]
    assert (500, "FAILURE") == (status["code"], status["status"])
    assert "/secret" not in status["info"]


def test_a_fault_while_loading_stops_the_process(
    unloaded: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wrapper ignores AttributeError from load() and would serve without a model."""

    def broken(*_: object) -> None:
        raise AttributeError("no such thing")

    monkeypatch.setattr("Model.load_classifier", broken)
    with pytest.raises(SystemExit):
        unloaded.load()


@pytest.mark.parametrize("meta", [5, [], {"tags": []}, {"requestPath": 5}, {"puid": 5}])
def test_a_wrong_meta_is_refused(node: Model, meta: Any) -> None:
    """It is merged into the answer, so it must have the form that Seldon gives it."""
    assert 400 == node.predict_raw({"strData": "good", "meta": meta})["status"]["code"]


def test_the_request_path_names_this_node(node: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """An A/B log reads off it which model answered."""
    monkeypatch.setenv("PREDICTIVE_UNIT_ID", "roberta")
    monkeypatch.setenv("PREDICTIVE_UNIT_IMAGE", "image:1")
    message = {"strData": "good", "meta": {"requestPath": {"before": "image:0"}}}
    answer = node.predict_raw(message)
    assert {"roberta": "image:1", "before": "image:0"} == answer["meta"]["requestPath"]


class Model500:
    """A classifier whose answers are replaced by what a test wants raised, one after another."""

    def __init__(self, node: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failures: list[BaseException | None] = []
        classify = Classifier.classify

        def failing(classifier: Classifier, texts: Any, truncation: Any = None) -> Any:
            if "poison" in texts[0]:
                raise InferenceError("this text breaks it")
            failure = self.failures.pop(0) if self.failures else None
            if failure:
                raise failure
            return classify(classifier, texts, truncation)

        monkeypatch.setattr(Classifier, "classify", failing)
        self._retry = threading.Event()
        held = SimpleNamespace(sleep=lambda _: self._retry.wait(30))
        monkeypatch.setattr("roberta_sentiment.serving.health.time", held)
        self._node = node

    def wait_for_health(self) -> None:
        """Let the node ask the model again, which it does not before."""
        self._retry.set()
        for _ in range(3000):
            if not self._node.health.problem:
                self._retry.clear()
                return
            threading.Event().wait(0.01)
        raise AssertionError(self._node.health.problem)


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(OverloadedError("64 requests are waiting", 7), id="overloaded"),
        pytest.param(CallerGoneError(), id="dropped"),
        pytest.param(InferenceError("still broken"), id="inference"),
        pytest.param(MemoryError(), id="memory"),
        pytest.param(SystemExit(1), id="exit"),
        pytest.param(KeyboardInterrupt(), id="interrupt"),
    ],
)
def test_health_recovers_whatever_is_raised_meanwhile(
    node: Model, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    """Recovery that ends before the model answers would leave health red forever."""
    model = Model500(node, monkeypatch)
    broken = InferenceError("broken")
    model.failures = [broken, broken, failure, failure, broken]
    assert 500 == node.predict_raw({"strData": "good"})["status"]["code"]
    with pytest.raises(NodeError, match="not ready: broken"):
        node.health_status()
    model.wait_for_health()
    assert "ready" == node.health_status()
    assert [] == model.failures


def test_a_text_that_fails_alone_leaves_health_green(
    node: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One caller must not take the pod away from all others."""
    Model500(node, monkeypatch)
    for _ in range(3):
        assert 500 == node.predict_raw({"strData": "poison"})["status"]["code"]
        assert "ready" == node.health_status()


def test_a_model_that_fails_again_turns_health_red_again(
    node: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each failure is checked by itself once the last has passed."""
    model = Model500(node, monkeypatch)
    for _ in range(2):
        model.failures = [InferenceError("broken")] * 2
        node.predict_raw({"strData": "good"})
        with pytest.raises(NodeError, match="not ready: broken"):
            node.health_status()
        model.wait_for_health()


class Counts:
    """A metrics store that keeps what it is given."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        self.update_reward: Any = None

    def update(self, custom_metrics: list[dict[str, Any]], method: str) -> None:
        for metric in custom_metrics:
            key = " ".join([metric["key"], *metric["tags"].values()])
            self.values[key] = self.values.get(key, 0) + metric["value"]


def test_a_request_whose_caller_has_gone_is_counted(node: Model) -> None:
    """It is neither an answer nor a fault of the model."""
    counts = Counts()
    node.recorder.connect(counts, ())
    gone = Caller()
    gone.cancel()
    with serving(gone):
        status = node.predict_raw({"strData": "good"})["status"]
    assert (499, "CALLER_GONE") == (status["code"], status["reason"])
    expected = {
        "sentiment_refused_requests caller_gone": 1,
        "sentiment_dropped_requests": 1,
        "sentiment_dropped_tokens": 0,
    }
    assert expected == counts.values
    assert "ready" == node.health_status()


LONG = "\u4e2d\x1b\n'" * 250_000


@pytest.mark.parametrize(
    "message",
    [
        pytest.param({LONG: 1}, id="field"),
        pytest.param({"jsonData": {LONG: 1, "texts": "a"}}, id="jsonData field"),
        pytest.param({"jsonData": {"texts": "a", "options": {LONG: 1}}}, id="option"),
        pytest.param({"jsonData": {"texts": "a", "options": {"top_k": LONG}}}, id="top_k"),
        pytest.param({"jsonData": {"texts": "a", "options": {"output": LONG}}}, id="output"),
        pytest.param({"jsonData": {"texts": "a", "options": {"truncation": [LONG]}}}, id="list"),
        pytest.param({"jsonData": {"texts": "a", "options": LONG}}, id="options"),
        pytest.param({"data": LONG}, id="data"),
        pytest.param({"data": {"ndarray": LONG}}, id="ndarray"),
        pytest.param({"data": {"ndarray": [[1], [LONG]]}}, id="token id"),
        pytest.param({"data": {"ndarray": [[10**5000]]}}, id="digits"),
        pytest.param({"data": {"ndarray": [-(10**5000)]}}, id="flat digits"),
        pytest.param({"data": {"tensor": {"shape": [10**5000], "values": []}}}, id="shape"),
        pytest.param({"data": {"tensor": {"shape": [1] * 10**6, "values": []}}}, id="long shape"),
        pytest.param({"data": {"tensor": {"shape": [LONG, 1], "values": []}}}, id="shape of text"),
        pytest.param({"binData": LONG}, id="binData"),
        pytest.param({"strData": [LONG]}, id="strData"),
        pytest.param({"strData": "a", "meta": {"tags": LONG}}, id="tags"),
        pytest.param({"strData": "a", "meta": {"puid": [LONG]}}, id="puid"),
        pytest.param({"strData": "a", "meta": LONG}, id="meta"),
    ],
)
def test_a_sentence_stays_short_whatever_was_sent(node: Model, message: Any) -> None:
    """A long one does not fit into a gRPC header, and costs as much as it echoes."""
    status = node.predict_raw(message)["status"]
    assert 400 == status["code"]
    assert 10 < len(status["info"]) <= 300
    assert "\x1b" not in status["info"]


@pytest.mark.parametrize(
    "message",
    [
        pytest.param({"truth": {"strData": LONG}}, id="truth"),
        pytest.param({"truth": {"data": {"ndarray": [LONG]}}}, id="truths"),
        pytest.param({"truth": {"data": {"ndarray": [[LONG] * 5]}}}, id="one-hot"),
        pytest.param(
            {"truth": {"data": {"tensor": {"shape": [1] * 10**5, "values": [1]}}}}, id="shape"
        ),
        pytest.param({"truth": {"strData": "good"}, "response": {"jsonData": LONG}}, id="response"),
        pytest.param(
            {"truth": {"strData": "positive"}, "request": {"jsonData": {LONG: 1}}}, id="request"
        ),
    ],
)
def test_a_sentence_about_feedback_stays_short(node: Model, message: Any) -> None:
    """Its parts come from callers, too."""
    with pytest.raises(NodeError) as caught:
        node.send_feedback_raw(json_format.ParseDict(message, prediction_pb2.Feedback()))
    assert 10 < len(str(caught.value)) <= 300


def test_a_start_by_hand_serves_the_optimised_file(
    tmp_path: Path, toy_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shipped speed must not hang on a step before the server's start."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    node = Model(model_uri=str(toy_path), window_overlap=8)
    node.load()
    assert isinstance(node._classifier, Classifier)
    assert "optimized" == node._classifier.kind
