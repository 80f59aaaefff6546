"""Fused normalisations taken apart."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from roberta_sentiment.graph.norms import split_skip_norms

WIDTH = 8


def fused(*, bias: bool, outputs: int = 1, opset: int = 17) -> onnx.ModelProto:
    draw = np.random.default_rng(0)
    names = ["gamma", "beta", *(["bias"] if bias else [])]
    node = helper.make_node(
        "SkipLayerNormalization",
        ["x", "skip", *names],
        ["y", "mean", "variance", "total"][:outputs],
        domain="com.microsoft",
        epsilon=1e-3,
    )
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, None, WIDTH])
        for name in ("x", "skip", "y")
    ]
    constants = [
        numpy_helper.from_array(draw.normal(size=WIDTH).astype(np.float32), name) for name in names
    ]
    return helper.make_model(
        helper.make_graph([node], "norm", values[:2], values[2:], constants),
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)],
        ir_version=8,
    )


def answers(model: onnx.ModelProto) -> np.ndarray:  # type: ignore[type-arg]
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    draw = np.random.default_rng(1)
    x, skip = draw.normal(size=(2, 3, 5, WIDTH)).astype(np.float32)
    return np.asarray(session.run(["y"], {"x": x, "skip": skip})[0])


@pytest.mark.parametrize("bias", [False, True], ids=["plain", "with a bias"])
def test_the_parts_compute_what_the_fused_node_does(bias: bool) -> None:
    """Epsilon, scale, shift and bias are carried over."""
    model = fused(bias=bias)
    expected = answers(model)
    assert 1 == split_skip_norms(model)
    assert "SkipLayerNormalization" not in {node.op_type for node in model.graph.node}
    np.testing.assert_allclose(expected, answers(model), atol=1e-5)


@pytest.mark.parametrize(
    "model",
    [fused(bias=False, outputs=3), fused(bias=False, opset=13)],
    ids=["its variance is an output", "no LayerNormalization in this opset"],
)
def test_what_can_not_be_taken_apart_stays(model: onnx.ModelProto) -> None:
    """Replacing it would lose an output, or make a graph that can't be loaded."""
    before = model.SerializeToString()
    assert 0 == split_skip_norms(model)
    assert before == model.SerializeToString()
