"""Sessions: whatever names and types the graph has, and what it may not have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from roberta_sentiment.errors import GraphError, InferenceError
from roberta_sentiment.run.session import Session, open_session
from tests import toy

GOOD = toy.vocabulary()["good"]


def save(path: Path, model: onnx.ModelProto) -> Path:
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("integer", [TensorProto.INT64, TensorProto.INT32], ids=["int64", "int32"])
def test_padding_is_masked(tmp_path: Path, integer: int) -> None:
    """The mask follows the lengths, in the type that the graph asks for."""
    session = open_session(save(tmp_path / "m.onnx", toy.graph(integer=integer)), threads=1)
    logits = session.run(np.array([[GOOD, 1, 1], [GOOD, GOOD, 1]]), np.array([1, 2]))
    np.testing.assert_array_equal([[0, 1], [0, 2]], logits)
    assert logits.dtype == np.float32


def test_a_graph_without_mask_says_so(tmp_path: Path) -> None:
    """The planner has to know, or padding changes answers."""
    session = open_session(save(tmp_path / "m.onnx", toy.graph(mask=False)), threads=1)
    assert not session.has_mask
    np.testing.assert_array_equal([[0, 1]], session.run(np.array([[GOOD]]), np.array([1])))


def rename_input(model: onnx.ModelProto, old: str, new: str) -> onnx.ModelProto:
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
    for value in model.graph.input:
        value.name = new if value.name == old else value.name
    return model


def test_a_single_input_may_have_any_name(tmp_path: Path) -> None:
    """The zoo's is called input, others have their own word."""
    model = rename_input(toy.graph(mask=False), "input_ids", "words")
    assert open_session(save(tmp_path / "m.onnx", model), threads=1).signature.ids == "words"


@pytest.mark.parametrize(
    ("model", "words"),
    [
        pytest.param(
            rename_input(toy.graph(), "attention_mask", "bbox"), "unknown here: bbox", id="unknown"
        ),
        pytest.param(
            rename_input(toy.graph(), "input_ids", "pixels"), "named input_ids", id="no ids"
        ),
    ],
)
def test_unfit_inputs_are_refused(tmp_path: Path, model: onnx.ModelProto, words: str) -> None:
    """A graph of another kind must stop the start, not the first request."""
    with pytest.raises(GraphError, match=words):
        open_session(save(tmp_path / "m.onnx", model), threads=1)


def test_an_unfit_output_is_refused(tmp_path: Path) -> None:
    """Hidden states (batch, length, width) are no scores."""
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Cast", ["input_ids"], ["f"], to=TensorProto.FLOAT),
                helper.make_node("Unsqueeze", ["f", "axis"], ["hidden"]),
            ],
            "g",
            [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["b", "l"])],
            [helper.make_tensor_value_info("hidden", TensorProto.FLOAT, ["b", "l", 1])],
            [helper.make_tensor("axis", TensorProto.INT64, [1], [2])],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    with pytest.raises(GraphError, match="float logits"):
        open_session(save(tmp_path / "m.onnx", model), threads=1)


def test_a_file_that_is_no_graph_is_refused_in_one_line(tmp_path: Path) -> None:
    """ONNX Runtime's own text runs over several lines."""
    (tmp_path / "m.onnx").write_bytes(b"not a graph")
    with pytest.raises(GraphError, match="can't load") as caught:
        open_session(tmp_path / "m.onnx", threads=1)
    assert "\n" not in str(caught.value)


class Broken:
    """A session that answers with what it is given, or fails with it."""

    def __init__(self, inner: Any, result: Any) -> None:
        self._inner, self._result = inner, result

    def get_inputs(self) -> list[Any]:
        inputs: list[Any] = self._inner.get_inputs()
        return inputs

    def get_outputs(self) -> list[Any]:
        outputs: list[Any] = self._inner.get_outputs()
        return outputs

    def get_modelmeta(self) -> Any:
        return self._inner.get_modelmeta()

    def run(self, outputs: list[str], feed: dict[str, Any]) -> list[Any]:
        if isinstance(self._result, Exception):
            raise self._result
        return [self._result]


@pytest.mark.parametrize(
    "result", [np.array([[np.nan, 0]]), np.array([[np.inf, 0]]), RuntimeError("/secret/path")]
)
def test_a_failing_model_is_our_fault(tmp_path: Path, result: Any) -> None:
    """NaN never reaches a caller, nor does the text of an error inside."""
    good = open_session(save(tmp_path / "m.onnx", toy.graph()), threads=1)
    with pytest.raises(InferenceError) as caught:
        Session(Broken(good._session, result)).run(np.array([[GOOD]]), np.array([1]))
    assert "/secret" not in str(caught.value)
