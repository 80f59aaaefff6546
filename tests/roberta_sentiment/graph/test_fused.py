"""The rebuilt graph computes what the exported one does."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from scipy.special import ndtr

from roberta_sentiment.errors import GraphError
from roberta_sentiment.graph.fused import build
from roberta_sentiment.graph.mask import add_mask
from roberta_sentiment.graph.signature import PACKED, PACKED_ATTENTION
from roberta_sentiment.graph.weights import Architecture, from_onnx, from_state_dict
from roberta_sentiment.tools.tolerance import batch_tolerance
from tests import toy, zoo

Array = npt.NDArray[Any]


def run(model: onnx.ModelProto, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return np.asarray(session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0])


def test_the_rebuilt_published_graph_answers_as_pytorch() -> None:
    """Positions, mask, GELU, norms and head in one: 18 sequences in one padded batch."""
    logits = run(build(from_onnx(zoo.graph(), zoo.CONFIG)), *zoo.padded())
    np.testing.assert_allclose(zoo.LOGITS, logits, atol=1e-5)


def test_a_row_does_not_see_its_batch() -> None:
    """Nothing of another row, nor of padding, reaches it; sums of another order differ by 1e-6."""
    model = build(from_onnx(zoo.graph(), zoo.CONFIG))
    ids, mask = zoo.padded()
    together = run(model, ids, mask)
    for row, sequence in enumerate(zoo.IDS):
        alone = run(model, np.array([sequence]), np.ones((1, len(sequence)), dtype=np.int64))
        np.testing.assert_allclose(together[row], alone[0], atol=batch_tolerance("fp32"))


class PackedMultiHeadAttention(OpRun):
    """The operator as ONNX Runtime documents it; its only kernel runs on GPUs."""

    op_domain = "com.microsoft"

    def _run(
        self, query: Array, key: Array, value: Array, bias: None, offsets: Array, ends: Array,
        num_heads: int,
    ) -> tuple[Array]:  # fmt: skip
        assert bias is None
        assert np.int32 == offsets.dtype == ends.dtype
        assert offsets.shape[0] + 1 == len(ends)
        tokens, hidden = query.shape
        padded = np.concatenate(
            [row * offsets.shape[1] + np.arange(n) for row, n in enumerate(np.diff(ends))]
        )
        np.testing.assert_array_equal(padded, offsets.ravel()[:tokens])
        np.testing.assert_array_equal(np.arange(offsets.size), np.sort(offsets.ravel()))
        context = np.empty_like(value)
        for start, end in itertools.pairwise(ends):
            q, k, v = (
                x[start:end].reshape(end - start, num_heads, -1).transpose(1, 0, 2)
                for x in (query, key, value)
            )
            scores = q @ k.transpose(0, 2, 1) / np.sqrt(hidden // num_heads)
            weights = np.exp(scores - scores.max(axis=2, keepdims=True))
            seen = weights / weights.sum(axis=2, keepdims=True) @ v
            context[start:end] = seen.transpose(1, 0, 2).reshape(-1, hidden)
        return (context,)


class Gelu(OpRun):
    """The exact one."""

    op_domain = "com.microsoft"

    def _run(self, x: Array, approximate: str = "none") -> tuple[Array]:
        return ((x * ndtr(x)).astype(x.dtype),)


def test_the_graph_for_gpus_answers_as_pytorch() -> None:
    """Its attention sees rows one after another, separated by where each of them ends."""
    ids, mask = zoo.padded()
    graph = build(from_onnx(zoo.graph(), zoo.CONFIG), for_cuda=True)
    assert PACKED_ATTENTION == {p.key: p.value for p in graph.metadata_props}[PACKED]
    reference = ReferenceEvaluator(graph, new_ops=[PackedMultiHeadAttention, Gelu])
    (logits,) = reference.run(["logits"], {"input_ids": ids, "attention_mask": mask})
    np.testing.assert_allclose(zoo.LOGITS, np.asarray(logits), atol=1e-5)


def test_weights_survive_the_way_through_a_state_dict() -> None:
    """A checkpoint and an export of it lead to the same graph."""
    weights = from_onnx(zoo.graph(), zoo.CONFIG)
    again = from_state_dict(dict(weights.tensors), zoo.CONFIG)
    assert build(weights).SerializeToString() == build(again).SerializeToString()


def test_a_rebuilt_graph_can_be_read_again() -> None:
    """`quantize` takes what `convert` wrote, where query, key and value are one layer."""
    built = build(from_onnx(zoo.graph(), zoo.CONFIG))
    again = build(from_onnx(built, zoo.CONFIG))
    assert built.SerializeToString() == again.SerializeToString()


def test_names_may_have_a_prefix() -> None:
    """Exports of a wrapped module call everything `model.roberta...`."""
    model = add_mask(zoo.graph())
    names = {t.name for t in model.graph.initializer if t.name.startswith(("roberta", "class"))}
    for tensor in model.graph.initializer:
        tensor.name = f"model.{tensor.name}" if tensor.name in names else tensor.name
    for node in model.graph.node:
        for at, name in enumerate(node.input):
            node.input[at] = f"model.{name}" if name in names else name
    expected = from_onnx(zoo.graph(), zoo.CONFIG).tensors
    for name, value in from_onnx(model, zoo.CONFIG).tensors.items():
        np.testing.assert_array_equal(expected[name], value)


def test_a_missing_tensor_is_named() -> None:
    """Somebody has to find out which export this was."""
    tensors = dict(from_onnx(zoo.graph(), zoo.CONFIG).tensors)
    del tensors["roberta.encoder.layer.1.output.dense.bias"]
    with pytest.raises(GraphError, match=r"no tensor roberta\.encoder\.layer\.1\.output\.dense"):
        from_state_dict(tensors, zoo.CONFIG)
    with pytest.raises(GraphError, match="is found before"):
        from_onnx(toy.graph(), zoo.CONFIG)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_type": "bert"}, "'bert', a RoBERTa is needed"),
        ({"hidden_act": "gelu_new"}, "hidden_act is 'gelu_new'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
    ],
)
def test_another_architecture_is_refused(change: dict[str, str], reason: str) -> None:
    """Rebuilt, it would give wrong answers."""
    with pytest.raises(GraphError, match=reason):
        Architecture.read({**zoo.CONFIG, **change})


def test_config_must_state_the_heads() -> None:
    """No tensor tells the number of heads, and a wrong one changes every answer."""
    config = json.loads(json.dumps(zoo.CONFIG))
    del config["num_attention_heads"]
    with pytest.raises(GraphError, match="num_attention_heads"):
        Architecture.read(config)
