"""ONNX's attention computes what ONNX Runtime's own does."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roberta_sentiment.graph.attention import use_onnx_attention
from roberta_sentiment.graph.fused import build
from roberta_sentiment.graph.signature import PACKED
from roberta_sentiment.graph.weights import from_onnx
from roberta_sentiment.model.artifact import DEFAULT_MODEL
from roberta_sentiment.run.batching import pad
from tests import zoo

Logits = npt.NDArray[np.float32]


def fused() -> onnx.ModelProto:
    """The published model's small twin with fused attention, in float32."""
    return build(from_onnx(zoo.graph(), zoo.CONFIG))


def changed(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same with ONNX's attention."""
    assert use_onnx_attention(model)
    return model


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model.SerializeToString())


def run(opened: onnxruntime.InferenceSession, rows: list[list[int]]) -> Logits:
    ids, lengths = pad(rows, 1)
    mask = (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64)
    return np.asarray(opened.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0])


BEFORE, AFTER = session(fused()), session(changed(fused()))


def test_the_published_graph_answers_as_pytorch() -> None:
    """18 reference sequences in one padded batch."""
    np.testing.assert_allclose(zoo.LOGITS, run(AFTER, zoo.IDS), atol=1e-5)


@settings(max_examples=25)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=9), st.integers(0, 99))
def test_lengths_of_any_mixture_answer_as_before(lengths: list[int], seed: int) -> None:
    """With and without padding; only sums are in another order."""
    draw = np.random.default_rng(seed)
    rows = [draw.integers(3, 60, length).tolist() for length in lengths]
    np.testing.assert_allclose(run(BEFORE, rows), run(AFTER, rows), atol=2e-6)


@pytest.mark.parametrize("lengths", [[24], [9, 9, 9], [3, 30, 7], [128, 5]], ids=str)
def test_the_embedded_model_answers_as_before(lengths: list[int]) -> None:
    """In int8 a difference of one step of an activation would show as 0.001 of a logit."""
    draw = np.random.default_rng(1)
    rows = [draw.integers(5, 20_000, length).tolist() for length in lengths]
    path = DEFAULT_MODEL / "model.onnx"
    after = session(changed(onnx.load(str(path))))
    before = onnxruntime.InferenceSession(str(path))
    np.testing.assert_allclose(run(before, rows), run(after, rows), atol=1e-3)


def test_padding_does_not_change_a_text() -> None:
    """Alone, beside a longer text, and beside texts of its own length."""
    draw = np.random.default_rng(2)
    rows = [draw.integers(3, 60, length).tolist() for length in (7, 30, 7)]
    together = run(AFTER, rows)
    np.testing.assert_allclose(run(AFTER, rows[:1]), together[:1], atol=2e-6)
    np.testing.assert_allclose(run(AFTER, rows[::2]), together[::2], atol=2e-6)


def test_nothing_of_the_fused_attention_is_left() -> None:
    """A node that nobody reads would still be run."""
    model = changed(fused())
    kinds = Counter(node.op_type for node in model.graph.node)
    layers = zoo.CONFIG["num_hidden_layers"]
    assert (0, layers) == (kinds["MultiHeadAttention"], kinds["Attention"])
    read = {name for node in model.graph.node for name in node.input}
    read |= {output.name for output in model.graph.output}
    assert [] == [node.name for node in model.graph.node if not read.intersection(node.output)]


def test_another_graph_stays_as_it_is() -> None:
    """Only what `graph.fused` built is known to have this form."""
    model = fused()
    kept = [entry for entry in model.metadata_props if entry.key != PACKED]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    before = model.SerializeToString()
    assert 0 == use_onnx_attention(model)
    assert before == model.SerializeToString()
