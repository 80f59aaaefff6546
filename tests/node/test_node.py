"""The node inside Python, before any server: states, faults and the array interface."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Model import Model
from roberta_sentiment.classifier import Classifier, load_classifier
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
    """Seldon's contract: a caller inside Python hands over arrays and gets one back."""
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
    """The wrapper swallows AttributeError from load() and would serve without a model."""

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
