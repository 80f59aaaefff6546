"""Graphs in float16 answer as those in float32, to its rounding."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

from roberta_sentiment.graph.fused import build
from roberta_sentiment.graph.half import to_half
from roberta_sentiment.graph.mask import add_mask
from roberta_sentiment.graph.weights import from_onnx
from tests import zoo

FUSED = build(from_onnx(zoo.graph(), zoo.CONFIG))


@pytest.mark.parametrize("graph", [FUSED, add_mask(zoo.graph())], ids=["built anew", "exported"])
def test_a_graph_in_half_answers_to_the_rounding(graph: onnx.ModelProto) -> None:
    """Sixteen values of a token average little out; logits are float32 to whoever reads them."""
    ids, mask = zoo.padded()
    session = onnxruntime.InferenceSession(to_half(graph).SerializeToString())
    names = [node.name for node in session.get_inputs()]
    (logits,) = session.run(None, dict(zip(names, (ids, mask), strict=True)))
    assert np.float32 == logits.dtype
    np.testing.assert_allclose(zoo.LOGITS, logits, atol=1e-2)


def test_all_but_the_head_is_stored_in_half() -> None:
    """The head's rounding would show in every logit."""
    full = {t.name for t in to_half(FUSED).graph.initializer if t.data_type == TensorProto.FLOAT}
    assert full
    assert all(name.startswith("classifier.") for name in full)


def test_a_graph_in_half_can_be_read_again() -> None:
    """Weights that were stored in 16 bits make a graph in 32 and in 16 again."""
    again = build(from_onnx(to_half(FUSED), zoo.CONFIG))
    assert to_half(FUSED).SerializeToString() == to_half(again).SerializeToString()


def test_the_graph_for_gpus_can_be_halved() -> None:
    """It has the same weights; only its attention differs."""
    full = {t.name for t in FUSED.graph.initializer if t.data_type == TensorProto.FLOAT}
    graph = to_half(build(from_onnx(zoo.graph(), zoo.CONFIG), for_cuda=True))
    half = {t.name for t in graph.graph.initializer if t.data_type == TensorProto.FLOAT16}
    assert {n for n in full if not n.startswith("classifier.") and "layer.1.att" not in n} <= half
