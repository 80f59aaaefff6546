"""The mask that is put into the published graph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from roberta_sentiment.errors import GraphError
from roberta_sentiment.graph.mask import add_mask
from tests import toy, zoo


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model.SerializeToString())


def test_padding_changes_the_published_graph() -> None:
    """Without this there would be nothing to fix, and the next test would show nothing."""
    ids, _ = zoo.padded()
    assert np.abs(session(zoo.graph()).run(None, {"input": ids})[0] - zoo.LOGITS).max() > 0.1


def test_a_padded_batch_answers_as_pytorch_did_alone() -> None:
    """18 sequences of 2 to 512 tokens in one batch."""
    ids, mask = zoo.padded()
    logits = session(add_mask(zoo.graph())).run(None, {"input": ids, "attention_mask": mask})[0]
    np.testing.assert_allclose(zoo.LOGITS, logits, atol=1e-5)


def test_the_checked_graph_is_valid() -> None:
    """What is written to disk must satisfy ONNX's own checker."""
    onnx.checker.check_model(add_mask(zoo.graph()))


def test_the_original_is_left_alone() -> None:
    """The caller's graph may still be needed, for the way without a mask."""
    model = zoo.graph()
    before = model.SerializeToString(deterministic=True)
    add_mask(model)
    assert before == model.SerializeToString(deterministic=True)


def _second_mask(model: onnx.ModelProto) -> None:
    """Give the second softmax a mask of its own."""
    product = next(n for n in model.graph.node if n.op_type == "Mul" and _masks(model, n))
    added = [n for n in model.graph.node if product.output[0] in n.input]
    at = list(model.graph.node).index(product)
    twin = onnx.NodeProto()
    twin.CopyFrom(product)
    twin.input[0], twin.output[0] = "another", "twin"
    model.graph.node.insert(at + 1, twin)
    model.graph.node.insert(at + 1, helper.make_node("Neg", [product.input[0]], ["another"]))
    for i, name in enumerate(added[-1].input):
        if name == product.output[0]:
            added[-1].input[i] = "twin"


def _zeros(model: onnx.ModelProto) -> None:
    """Turn the ones that make the mask into zeros."""
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "ConstantOfShape" and attribute.t.int64_data[:] == [1]:
                attribute.t.CopyFrom(numpy_helper.from_array(np.array([0])))
            elif node.op_type == "ConstantOfShape":
                value = numpy_helper.to_array(attribute.t)
                if value.tolist() == [1]:
                    attribute.t.CopyFrom(numpy_helper.from_array(np.array([0])))


def _fused(model: onnx.ModelProto) -> None:
    """Hide the softmax, as fusion into an attention operator does."""
    for node in model.graph.node:
        if node.op_type == "Softmax":
            node.op_type = "HardmaxOfSomeKind"


def _masks(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    return sum(node.output[0] in other.input for other in model.graph.node) > 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_second_mask, "2 different masks"),
        (_zeros, "not a tensor of ones"),
        (_fused, "no Softmax"),
    ],
)
def test_another_pattern_is_refused(change: Callable[[onnx.ModelProto], None], reason: str) -> None:
    """A graph that only looks alike must not be edited by guess."""
    model = zoo.graph()
    change(model)
    with pytest.raises(GraphError, match=reason):
        add_mask(model)


def test_a_graph_with_a_mask_is_refused() -> None:
    """Editing twice would mask twice."""
    with pytest.raises(GraphError, match="2 inputs"):
        add_mask(add_mask(zoo.graph()))


def test_a_graph_without_attention_is_refused() -> None:
    """Nothing to mask is not a success."""
    with pytest.raises(GraphError, match="no Softmax"):
        add_mask(toy.graph(mask=False))
