"""Weights of which no two neighbours saturate are exact on every CPU; others are shifted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper

from roberta_sentiment.graph import saturation
from roberta_sentiment.graph.int8 import quantize_columns
from roberta_sentiment.graph.pairs import LIMIT, largest_sums, make_exact
from roberta_sentiment.graph.signature import PACKED
from roberta_sentiment.model.artifact import DEFAULT_MODEL
from roberta_sentiment.model.optimize import save_optimized
from roberta_sentiment.run.batching import pad
from roberta_sentiment.run.session import open_session
from tests import eight_bits


def test_only_neighbours_of_one_sign_add_up() -> None:
    """Rows 0 and 1, rows 2 and 3, and the last of an odd number alone."""
    rows = [[100, -5, 1], [-100, -6, 2], [60, 9, 3], [70, -9, 0], [-99, 8, 100]]
    assert [130, 11, 100] == largest_sums(np.array(rows, dtype=np.int8)).tolist()


@given(st.integers(0, 10**6), st.integers(1, 40), st.floats(0.3, 30))
def test_no_neighbours_of_a_quantised_weight_saturate(seed: int, inputs: int, tail: float) -> None:
    """Whatever the weights are; none is more than half a step off, and a column uses its steps."""
    drawn = np.random.default_rng(seed).standard_t(tail, (inputs, 3)).astype(np.float32)
    eight, steps = quantize_columns(drawn)
    assert largest_sums(eight).max() <= LIMIT
    assert np.abs(eight * steps - drawn).max(axis=0) == pytest.approx(0, abs=0.501 * steps.max())
    used = np.maximum(np.abs(eight.astype(np.int16)).max(axis=0), largest_sums(eight))
    assert used.min() >= 126


@pytest.mark.parametrize("sign", [1, -1])
def test_products_of_a_quantised_weight_are_exact(sign: int) -> None:
    """With the largest activation wherever a weight has one sign, the worst that can be."""
    drawn = np.random.default_rng(0).standard_t(4, (512, 64)).astype(np.float32)
    eight, _ = quantize_columns(drawn)
    session = onnxruntime.InferenceSession(saturation._PRODUCT)
    worst = np.where(eight.T * sign > 0, 255, 0).astype(np.uint8)
    exact = worst.astype(np.int64) @ eight.astype(np.int64)
    for rows in (slice(0, 1), slice(None)):
        found = session.run(None, {"a": worst[rows], "b": eight})[0]
        np.testing.assert_array_equal(exact[rows], found)


@pytest.fixture
def model() -> onnx.ModelProto:
    """The embedded one."""
    return onnx.load(str(DEFAULT_MODEL / "model.onnx"))


def with_saturating_layer(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with one weight as if each column had used all 127 steps."""
    name = "roberta.encoder.layer.1.intermediate.dense"
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    weight, scale = (tensors[f"{name}.{part}"] for part in ("weight", "scale"))
    eight = numpy_helper.to_array(weight).astype(np.float32)
    factors = 127 / np.abs(eight).max(axis=0)
    wide = np.rint(eight * factors).astype(np.int8)
    assert largest_sums(wide).max() > LIMIT
    weight.CopyFrom(numpy_helper.from_array(wide, weight.name))
    steps = (numpy_helper.to_array(scale) / factors).astype(np.float32)
    scale.CopyFrom(numpy_helper.from_array(steps, scale.name))
    return model


@pytest.mark.parametrize("saturating", [False, True])
def test_only_what_saturates_is_shifted(
    model: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saturating: bool
) -> None:
    """On a CPU without VNNI; the answers stay."""
    monkeypatch.setattr(saturation, "has_exact_int8_dot", lambda: False)
    if saturating:
        with_saturating_layer(model)
    content = model.SerializeToString()
    save_optimized(model, tmp_path / "model.onnx")
    kinds = eight_bits.weight_types(tmp_path / "model.onnx")
    expected = (
        {TensorProto.INT8: 24, TensorProto.UINT8: 1} if saturating else {TensorProto.INT8: 25}
    )
    assert expected == kinds
    draw = np.random.default_rng(1)
    ids, lengths = pad([draw.integers(5, 20_000, n).tolist() for n in (3, 30, 7)], 1)
    before = open_session(content, threads=1).run(ids, lengths)
    after = open_session(tmp_path / "model.onnx", threads=1, optimized=True).run(ids, lengths)
    np.testing.assert_allclose(before, after, atol=1e-3)


def test_another_graph_stays_as_it_is(model: onnx.ModelProto) -> None:
    """Only what `graph.fused` built is known to have this form."""
    kept = [entry for entry in with_saturating_layer(model).metadata_props if entry.key != PACKED]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    before = model.SerializeToString()
    assert not make_exact(model)
    assert before == model.SerializeToString()
