"""V2 tensors to requests, and predictions to V2 tensors."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mlserver", reason="make test-oip runs these in an environment with MLServer")

from mlserver.types import InferenceRequest

from oip_node import payload
from roberta_sentiment.errors import LONGEST_SENTENCE, RequestError
from roberta_sentiment.model.heads import Head
from roberta_sentiment.predictions import Predictions, Work
from roberta_sentiment.settings import Settings

LABELS = ("anger", "joy", "love")
WORK = Work(1, 3, 0, 0.0, 0.0, 0.0)
SETTINGS = Settings(max_texts=4, max_characters=40)


def tensor(datatype: str, shape: list[int], data: Any, **more: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": datatype, "shape": shape, "data": data, **more}


def request(*inputs: dict[str, Any], head: Head = Head(), **more: Any) -> payload.Request:  # noqa: B008
    message = InferenceRequest.model_validate({"inputs": list(inputs), **more})
    return payload.parse(message, SETTINGS, head)


TEXT = tensor("BYTES", [1], ["a"])


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        pytest.param(tensor("BYTES", [2], ["a", "b"]), ["a", "b"], id="n"),
        pytest.param(tensor("BYTES", [2, 1], ["a", "b"]), ["a", "b"], id="n x 1, flat"),
        pytest.param(tensor("BYTES", [2, 1], [["a"], ["b"]]), ["a", "b"], id="n x 1, nested"),
        pytest.param(tensor("BYTES", [1], [b"\xc3\xa9"]), ["é"], id="bytes"),
        pytest.param(
            tensor("BYTES", [1], ["a"], parameters={"content_type": "str"}), ["a"], id="str"
        ),
        pytest.param(
            tensor(
                "BYTES",
                [1],
                [base64.b64encode("é".encode()).decode()],
                parameters={"content_type": "base64"},
            ),
            ["é"],
            id="base64",
        ),
    ],
)
def test_texts(given: dict[str, Any], texts: list[str]) -> None:
    """A BYTES tensor holds texts, whether its client nests them or not."""
    assert texts == request(given).texts


@pytest.mark.parametrize("datatype", ["INT64", "INT32", "UINT16"])
def test_token_ids(datatype: str) -> None:
    """An integer tensor holds rows of ids, flat or nested."""
    assert [[0, 7], [5, 2]] == request(tensor(datatype, [2, 2], [0, 7, 5, 2])).ids
    assert [[0, 7], [5, 2]] == request(tensor(datatype, [2, 2], [[0, 7], [5, 2]])).ids


def test_several_inputs_are_one_batch() -> None:
    """In their order, texts of other shapes and ids of other lengths."""
    assert ["a", "b", "c"] == request(
        tensor("BYTES", [2, 1], ["a", "b"]), tensor("BYTES", [1], ["c"])
    ).texts
    assert [[0], [1, 2]] == request(
        tensor("INT64", [1, 1], [0]), tensor("INT64", [1, 2], [1, 2])
    ).ids


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        pytest.param([], "no inputs", id="no inputs"),
        pytest.param([tensor("FP32", [1], [1.0])], "datatype 'FP32'; BYTES", id="floats"),
        pytest.param([TEXT, tensor("INT64", [1, 1], [1])], "texts and token ids", id="both"),
        pytest.param([tensor("BYTES", [2, 2], ["a"] * 4)], "shape [2, 2]; texts", id="n x 2"),
        pytest.param([tensor("BYTES", [], ["a"])], "shape []; texts", id="a scalar"),
        pytest.param([tensor("BYTES", [3], ["a"])], "shape [3] but 1 values; 3 are", id="too few"),
        pytest.param([tensor("BYTES", [0], [])], "send at least one text", id="none"),
        pytest.param([tensor("BYTES", [-1, -1], ["a"])], "shape [-1, -1]", id="-1 twice"),
        pytest.param([tensor("BYTES", [-1], ["a"])], "shape [-1]", id="-1"),
        pytest.param([tensor("BYTES", [1], "a")], "is the text 'a'; a list", id="no list"),
        pytest.param([tensor("BYTES", [1], [5])], "text 0 is the number 5", id="a number"),
        pytest.param([tensor("BYTES", [1], [["a"]])], "text 0 is a list", id="too deep"),
        pytest.param([TEXT, tensor("BYTES", [1], [" "])], "text 1 ", id="second input"),
        pytest.param([tensor("BYTES", [1], [b"\xff"])], "text 0 is not valid UTF-8", id="latin 1"),
        pytest.param([tensor("BYTES", [5], ["a"] * 5)], "(setting max_texts)", id="many texts"),
        pytest.param([tensor("BYTES", [1], ["a" * 41])], "(setting max_characters)", id="long"),
        pytest.param(
            [tensor("BYTES", [1], ["?"], parameters={"content_type": "base64"})],
            "text 0 is not valid base64",
            id="no base64",
        ),
        pytest.param(
            [tensor("BYTES", [1], ["a"], parameters={"content_type": "pd_json"})],
            "content_type 'pd_json'",
            id="other codec",
        ),
        pytest.param([tensor("INT64", [2], [1, 2])], "token ids are rows", id="flat ids"),
        pytest.param([tensor("INT64", [2, 2], [[1, 2, 3], [4]])], "row 0 is 3 values", id="ragged"),
        pytest.param([tensor("INT64", [1, 1], [1.5])], "row 0, column 0: the number 1.5", id="1.5"),
        pytest.param([tensor("INT64", [1, 1], [True])], "true is not a token id", id="true"),
        pytest.param([tensor("INT64", [1, 1], [2**70])], "is not a token id", id="huge"),
        pytest.param(
            [{**tensor("INT64", [1, 1], [1]), "name": "attention_mask"}],
            "attention_mask is not understood",
            id="a mask",
        ),
        pytest.param(
            [tensor("BYTES", [1], ["a"], parameters={"top_k": 1})],
            "unknown parameter 'top_k' of 'x'; options belong to the request",
            id="option of an input",
        ),
        pytest.param([tensor("BYTES", [10**30], ["a"])], "but 1 values", id="huge shape"),
    ],
)
def test_refusals(given: list[dict[str, Any]], sentence: str) -> None:
    """Each with a sentence that says what is wrong."""
    with pytest.raises(RequestError) as refused:
        request(*given)
    assert sentence in refused.value.message
    assert LONGEST_SENTENCE >= len(refused.value.message)


@pytest.mark.parametrize(
    "name", ["content_type", "headers", "binary_data_output", "priority", "timeout", "sequence_id"]
)
def test_parameters_of_the_protocol(name: str) -> None:
    """What clients of the protocol send by themselves is no option of ours."""
    value = {"a": "b"} if name == "headers" else "1"
    assert ["a"] == request(TEXT, parameters={name: value}).texts


def test_options() -> None:
    """The Seldon door's, in the request's parameters."""
    given = request(TEXT, parameters={"truncation": "middle", "top_k": 2, "output": "logits"})
    assert ("middle", 2) == (given.options.truncation, given.options.top_k)
    assert ["logits", "label"] == [asked.name for asked in given.outputs]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"parameters": {"topk": 1}}, "unknown option 'topk'; known are"),
        ({"parameters": {"truncation": "no"}}, "truncation is the text 'no'; allowed are"),
        ({"parameters": {"top_k": 0}}, "top_k is the number 0; a whole number from 1"),
        ({"outputs": [{"name": "values"}]}, "output is the text 'values'; allowed are"),
        ({"outputs": [{"name": "label"}] * 2}, "label is asked for twice"),
        (
            {"outputs": [{"name": "logits", "parameters": {"datatype": "FP16"}}]},
            "datatype of 'logits' is the text 'FP16'; allowed are FP32, FP64",
        ),
        (
            {"outputs": [{"name": "label", "parameters": {"classification": 2}}]},
            "unknown parameter 'classification' of 'label'",
        ),
    ],
    ids=["option", "truncation", "top_k", "output", "twice", "datatype", "output's parameter"],
)
def test_refused_options(more: dict[str, Any], sentence: str) -> None:
    """With the sentences of the Seldon door where it has the same option."""
    with pytest.raises(RequestError) as refused:
        request(TEXT, **more)
    assert sentence in refused.value.message


@pytest.mark.parametrize(
    ("head", "output"),
    [(Head("softmax", in_graph=True), "logits"), (Head("identity"), "label")],
    ids=["no logits", "no label"],
)
def test_outputs_that_a_model_has_not(head: Head, output: str) -> None:
    """Asked for either way, they are refused with what to ask for."""
    for more in ({"outputs": [{"name": output}]}, {"parameters": {"output": output}}):
        with pytest.raises(RequestError, match="ask for probabilities"):
            request(TEXT, head=head, **more)


def predictions(head: Head = Head("identity")) -> Predictions:  # noqa: B008
    """Of two texts; identity shows the logits as scores."""
    logits = np.array([[1, 3, 2], [6, 5, 4]], np.float32)
    return Predictions(LABELS, logits, [3, 4], [1], WORK, head)


def answer(head: Head = Head("identity"), **more: Any) -> Any:  # noqa: B008
    """The JSON form of an answer to a request with these outputs or parameters."""
    asked = request(TEXT, head=Head(), **more)
    facts = {"precision": "int8", "tokens": [3, 4], "truncated": [1], "n": 1}
    built = payload.build(asked, predictions(head), name="m", version="7", facts=facts)
    return json.loads(built.model_dump_json())


def test_an_answer() -> None:
    """Scores and labels by default; lists in the parameters are JSON text."""
    given = answer()
    assert ("m", "7") == (given["model_name"], given["model_version"])
    facts = {"precision": "int8", "tokens": "[3, 4]", "truncated": "[1]", "n": 1}
    assert facts == given["parameters"]
    scores, label = given["outputs"]
    assert ("probabilities", "FP64", [2, 3]) == tuple(
        scores[k] for k in ("name", "datatype", "shape")
    )
    assert [1, 3, 2, 6, 5, 4] == scores["data"]
    assert ([2], ["joy", "anger"]) == (label["shape"], label["data"])


def test_top_k() -> None:
    """The best labels of each text, the best one first, each with its score."""
    scores, label = answer(parameters={"top_k": 2})["outputs"]
    assert ([2, 2], [3, 2, 6, 5]) == (scores["shape"], scores["data"])
    assert ([2, 2], ["joy", "love", "anger", "joy"]) == (label["shape"], label["data"])


def test_top_k_above_the_number_of_labels() -> None:
    """It is all of them, sorted."""
    scores, label = answer(parameters={"top_k": 9})["outputs"]
    assert [2, 3] == scores["shape"] == label["shape"]
    assert [3, 2, 1, 6, 5, 4] == scores["data"]


def test_datatypes_of_scores() -> None:
    """Logits are FP32 as the graph gives them; either may be asked for in the other type."""
    outputs = answer(
        outputs=[{"name": "logits"}, {"name": "probabilities", "parameters": {"datatype": "FP32"}}]
    )["outputs"]
    assert [("logits", "FP32"), ("probabilities", "FP32")] == [
        (output["name"], output["datatype"]) for output in outputs
    ]


def test_labels_of_a_multi_label_model() -> None:
    """Beside the best label all that reach 0.5, as a JSON list a text."""
    outputs = answer(head=Head("sigmoid"))["outputs"]
    assert ["probabilities", "label", "labels"] == [output["name"] for output in outputs]
    assert [["anger", "joy", "love"]] * 2 == [json.loads(text) for text in outputs[2]["data"]]
