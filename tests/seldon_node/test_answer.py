"""The answer of each kind of request, and its meta."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from seldon_core.proto import prediction_pb2

from roberta_sentiment.errors import OptionError, OverloadedError, PayloadError
from roberta_sentiment.model.heads import Head
from roberta_sentiment.predictions import Predictions, Work
from roberta_sentiment.serving import request as requests
from roberta_sentiment.serving.request import Options
from roberta_sentiment.settings import Output
from seldon_node import answer
from seldon_node.payload import Kind, Request

WORK = Work(1, 3, 0, 0.0, 0.0, 0.0)
LABELS = ("anger", "joy", "love")
IN_GRAPH = Head("softmax", in_graph=True)


def predictions(*logits: list[float], head: Head = Head("identity")) -> Predictions:  # noqa: B008
    """Of a text each; the second is truncated. Identity shows the logits as scores."""
    tokens = [3 + i for i in range(len(logits))]
    return Predictions(LABELS, np.array(logits, np.float32), tokens, [1], WORK, head)


TWO = predictions([1, 2, 3], [6, 5, 4])


@pytest.mark.parametrize("kind", ["tensor", "strData", "binData"])
def test_scores_are_a_tensor(kind: Kind) -> None:
    """Row by row, as Seldon's own models answer what is no array."""
    tensor = {"shape": [2, 3], "values": [1, 2, 3, 6, 5, 4]}
    expected = {"data": {"names": list(LABELS), "tensor": tensor}, "meta": {"puid": "p"}}
    message = answer.build(Request(kind), TWO, {"puid": "p"})
    assert expected == message
    data = answer.to_proto(message).data
    assert ([2, 3], [1, 2, 3, 6, 5, 4]) == (list(data.tensor.shape), list(data.tensor.values))
    assert list(LABELS) == list(data.names)


def test_an_ndarray_is_answered_in_kind() -> None:
    """With the names of its columns, in JSON and in protobuf."""
    message = answer.build(Request("ndarray"), TWO, {"puid": "p"})
    assert [[1, 2, 3], [6, 5, 4]] == message["data"]["ndarray"]
    proto = answer.to_proto(message)
    assert [[1, 2, 3], [6, 5, 4]] == [list(row) for row in proto.data.ndarray]
    assert ("p", list(LABELS)) == (proto.meta.puid, list(proto.data.names))


def described(found: Predictions, **options: Any) -> list[dict[str, Any]]:
    message = answer.build(Request("jsonData", options=Options(**options)), found, {})
    entries: list[dict[str, Any]] = message["jsonData"]["predictions"]
    return entries


def test_each_text_is_described() -> None:
    """Scores from the highest to the lowest, and what the model saw of the text."""
    first, second = described(TWO)
    scores = {"love": 3.0, "joy": 2.0, "anger": 1.0}
    expected = {"label": "love", "score": 3.0, "tokens": 3, "truncated": False, "scores": scores}
    assert expected == first
    assert list(scores) == list(first["scores"])
    assert ("anger", 4, True) == (second["label"], second["tokens"], second["truncated"])


def test_as_many_scores_as_asked_for() -> None:
    """The highest; all of them where the model has fewer."""
    assert {"love": 3.0, "joy": 2.0} == described(TWO, top_k=2)[0]["scores"]
    assert 3 == len(described(TWO, top_k=7)[0]["scores"])


def test_a_label_alone() -> None:
    """For a caller that wants no scores."""
    assert {"label": "love", "tokens": 3, "truncated": False} == described(TWO, output="label")[0]


def test_logits_are_those_before_the_head() -> None:
    """And probabilities those after it."""
    found = predictions([0, 1, 2], head=Head("softmax"))
    assert 2.0 == described(found, output="logits")[0]["score"]
    assert described(found)[0]["score"] == pytest.approx(np.exp(2) / np.exp([0, 1, 2]).sum())


def test_of_equal_scores_the_first_label_is_the_answer() -> None:
    """The one that is counted in the metrics, too."""
    found = predictions([2, 5, 5], head=Head("softmax"))
    assert found.best == [described(found)[0]["label"]] == ["joy"]


def test_a_model_with_several_labels_names_them() -> None:
    """In the order of the model, from a half on."""
    (entry,) = described(predictions([0, -1, 3], head=Head("sigmoid")))
    assert ("love", ["anger", "love"]) == (entry["label"], entry["labels"])
    assert "labels" not in described(predictions([0, -1, 3], head=Head("softmax")))[0]


@pytest.mark.parametrize(
    ("output", "head", "refused"),
    [
        pytest.param("logits", IN_GRAPH, True, id="logits of a graph without"),
        pytest.param("logits", Head("softmax"), False, id="logits"),
        pytest.param("label", Head("identity"), True, id="label of a regression"),
        pytest.param("label", IN_GRAPH, False, id="label"),
        pytest.param("probabilities", IN_GRAPH, False, id="probabilities"),
        pytest.param("probabilities", Head("identity"), False, id="values"),
    ],
)
def test_an_output_that_the_model_has_not_is_refused(
    output: Output, head: Head, refused: bool
) -> None:
    """The sentence says what to ask for."""
    if not refused:
        requests.check_output(output, head)
        return
    with pytest.raises(OptionError, match="ask for probabilities"):
        requests.check_output(output, head)


def test_meta_goes_back_to_its_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    """The executor's puid, a transformer's tags, and the path so far."""
    monkeypatch.delenv("PREDICTIVE_UNIT_ID", raising=False)
    meta = {"puid": "p", "tags": {"a": {"b": [1.5, None]}}, "requestPath": {"before": "image:0"}}
    assert meta == answer.build_meta(meta)
    assert {"tags": {}} == answer.build_meta(None) == answer.build_meta({"puid": ""})
    monkeypatch.setenv("PREDICTIVE_UNIT_ID", "roberta")
    assert {"before": "image:0", "roberta": ""} == answer.build_meta(meta)["requestPath"]


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        pytest.param([], "meta is not an object", id="list"),
        pytest.param(0, "meta is not an object", id="zero"),
        pytest.param({"tags": [1]}, "meta.tags is not an object", id="tags"),
        pytest.param({"requestPath": ""}, "meta.requestPath is not an object", id="path"),
        pytest.param({"puid": 5}, "meta.puid is not a text", id="puid"),
        pytest.param({"tags": {"a": float("nan")}}, "not finite", id="nan"),
        pytest.param({"tags": {"a": {"b": [1, float("inf")]}}}, "not finite", id="deep"),
    ],
)
def test_a_meta_of_another_form_is_refused(meta: object, words: str) -> None:
    """JSON has no way to send it back."""
    with pytest.raises(PayloadError, match=words):
        answer.build_meta(meta)


def test_a_refusal_has_the_form_of_seldon() -> None:
    """Clients of any Seldon model read it."""
    expected = {"code": 503, "info": "full", "reason": "OVERLOADED", "status": "FAILURE"}
    assert {"status": expected} == answer.build_error(OverloadedError("full", 3))


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False,
    allow_infinity=False) | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(
    st.fixed_dictionaries(
        {"tags": st.dictionaries(_TEXTS, _VALUES, max_size=4)},
        optional={
            "puid": _TEXTS,
            "requestPath": st.dictionaries(_TEXTS, _TEXTS, max_size=3),
        },
    )
)
def test_meta_in_protobuf_is_what_protobuf_itself_makes_of_it(meta: dict[str, Any]) -> None:
    """Only faster: whatever a caller put into its tags arrives with the answer."""
    assert json_format.ParseDict({"meta": meta}, prediction_pb2.SeldonMessage()) == answer.to_proto(
        {"meta": meta}
    )
