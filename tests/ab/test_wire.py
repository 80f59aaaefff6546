"""Messages: what is sent fits Seldon's protocol, and only whole answers are read."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format
from seldon_core.proto import prediction_pb2

from ab.wire import BadAnswer, build_feedback, build_request, read_answer

LABELS = ("negative", "positive")


def message(**changed: Any) -> dict[str, Any]:
    data = {"names": list(LABELS), "ndarray": [[0.25, 0.75]], **changed.pop("data", {})}
    return {"data": data, "meta": {"puid": "p", "routing": {"ab": 1}, **changed.pop("meta", {})}}


def test_an_answer_is_read() -> None:
    """Scores by label, in the order of the answer."""
    answer = read_answer(message(), LABELS, "p")
    assert (LABELS, (0.25, 0.75), "positive") == (answer.names, answer.scores, answer.predicted)
    assert {"ab": 1} == answer.routing


def test_labels_may_come_in_any_order() -> None:
    """Two models need not agree on the order of their columns."""
    turned = message(data={"names": ["positive", "negative"]})
    assert "negative" == read_answer(turned, LABELS).predicted


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (message(meta={"puid": "q"}), "another request"),
        (message(data={"names": ["bad", "good"]}), "data.names"),
        (message(data={"ndarray": [[0.2, 0.8], [0.1, 0.9]]}), "one row"),
        (message(data={"ndarray": [[0.2, 0.3]]}), "sum to 0.5"),
        (message(data={"ndarray": [[0.2]]}), "not 2 probabilities"),
        (message(data={"ndarray": [["a", "b"]]}), "not 2 probabilities"),
        (message(data={"ndarray": [[float("nan"), 1.0]]}), "not 2 probabilities"),
        (message(meta={"routing": {"ab": "x"}}), "other than numbers"),
        ({"status": {"status": "FAILURE"}}, "data.names"),
        ({}, "data.names"),
    ],
)
def test_an_answer_that_can_t_be_counted_is_reported(wrong: dict[str, Any], message: str) -> None:
    """A damaged answer or that of another model must not become an observation."""
    with pytest.raises(BadAnswer, match=message):
        read_answer(wrong, LABELS, "p")


def test_what_is_sent_fits_the_protocol() -> None:
    """One field that Seldon does not know, and the executor gives feedback to every child."""
    request = build_request("a text", "p")
    json_format.ParseDict(request, prediction_pb2.SeldonMessage())
    answer = read_answer(message(), LABELS, "p")
    feedback = build_feedback(answer, "negative", 0.5, "a text", {"ab": 1}, "p")
    parsed = json_format.ParseDict(feedback, prediction_pb2.Feedback())
    assert 1 == parsed.response.meta.routing["ab"]
    assert ["negative"] == list(parsed.truth.data.ndarray)
    assert "p" == parsed.request.meta.puid == parsed.response.meta.puid
    without_text = build_feedback(answer, "negative", 0.5, None, {}, "p")
    assert {"meta": {"puid": "p"}} == without_text["request"]


def test_names_of_labels_may_differ() -> None:
    """In case without a word, in everything else by a map; the record has the names of the run."""
    upper = message(data={"names": ["NEGATIVE", "POSITIVE"]})
    assert LABELS == read_answer(upper, LABELS).names
    other = message(data={"names": ["LABEL_0", "good"]})
    with pytest.raises(BadAnswer, match="--label-map FROM=TO"):
        read_answer(other, LABELS)
    names = {"LABEL_0": "negative", "good": "positive"}
    assert "positive" == read_answer(other, LABELS, label_map=names).predicted
