"""Weights in an order in which neighbours do not saturate are the same weights, and exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

from roberta_sentiment.graph import pairs, saturation
from roberta_sentiment.graph.int8 import quantize_columns
from roberta_sentiment.graph.signature import PACKED
from roberta_sentiment.model.artifact import DEFAULT_MODEL
from roberta_sentiment.model.optimize import save_optimized
from roberta_sentiment.run.batching import pad
from roberta_sentiment.run.session import open_session
from tests import eight_bits


def heavy_tailed(rows: int, seed: int) -> pairs.Int8:
    """Weights as a trained layer has them: a few large ones in each column, 64 columns."""
    drawn = np.random.default_rng(seed).standard_t(4, (rows, 64))
    return quantize_columns(drawn.astype(np.float32))[0]


@pytest.mark.parametrize("rows", [512, 513])
@pytest.mark.parametrize("seed", range(4))
def test_every_row_is_kept_once_and_no_neighbours_saturate(rows: int, seed: int) -> None:
    """What is added are rows of zeros, and few."""
    weight = heavy_tailed(rows, seed)
    assert pairs.saturating(weight[:512:2], weight[1:512:2]).any()
    order = pairs.find_order(weight)
    assert order is not None
    assert [*range(rows)] == sorted(order[order >= 0])
    assert (0, True) == (len(order) % 16, len(order) <= rows * 17 / 16)
    ordered = np.where((order < 0)[:, None], 0, weight[order]).astype(np.int8)
    assert not pairs.saturating(ordered[::2], ordered[1::2]).any()


def test_neighbours_may_add_up_to_the_limit_and_no_more() -> None:
    """Weights of unlike signs never saturate."""
    one, other = np.array([[127, -1], [127, -2], [127, -127], [64, 0]], np.int8), np.array(
        [[1, -127], [1, -127], [-127, 127], [65, 0]], np.int8
    )  # fmt: skip
    assert [False, True, False, True] == pairs.saturating(one, other).tolist()


def test_products_of_ordered_weights_are_exact() -> None:
    """With the largest activation wherever a weight has one sign, the worst that can be."""
    weight = heavy_tailed(512, 0)
    order = pairs.find_order(weight)
    assert order is not None
    ordered = np.where((order < 0)[:, None], 0, weight[order]).astype(np.int8)
    session = onnxruntime.InferenceSession(saturation._PRODUCT)
    for sign in (1, -1):
        worst = np.where(ordered.T * sign > 0, 255, 0).astype(np.uint8)
        exact = worst.astype(np.int64) @ ordered.astype(np.int64)
        for rows in (slice(0, 1), slice(None)):
            found = session.run(None, {"a": worst[rows], "b": ordered})[0]
            np.testing.assert_array_equal(exact[rows], found)


def test_weights_that_are_large_everywhere_get_no_order() -> None:
    """Then all are shifted, as before."""
    draw = np.random.default_rng(0)
    assert pairs.find_order(draw.integers(-127, 128, (512, 64), dtype=np.int8)) is None


@pytest.fixture
def without_vnni(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat this CPU as one without VNNI."""
    monkeypatch.setattr(saturation, "has_exact_int8_dot", lambda: False)


@pytest.mark.usefixtures("without_vnni")
def test_the_embedded_model_answers_as_before(tmp_path: Path) -> None:
    """The second product of each layer is reordered, the others are shifted."""
    path = DEFAULT_MODEL / "model.onnx"
    save_optimized(onnx.load(str(path)), tmp_path / "model.onnx")
    kinds = eight_bits.weight_types(tmp_path / "model.onnx")
    assert {TensorProto.INT8: 6, TensorProto.UINT8: 19} == kinds
    draw = np.random.default_rng(1)
    ids, lengths = pad([draw.integers(5, 20_000, n).tolist() for n in (3, 30, 7)], 1)
    before = open_session(path, threads=1).run(ids, lengths)
    after = open_session(tmp_path / "model.onnx", threads=1, optimized=True).run(ids, lengths)
    np.testing.assert_allclose(before, after, atol=1e-3)


def test_another_graph_stays_as_it_is() -> None:
    """Only what `graph.fused` built is known to have this form."""
    model = onnx.load(str(DEFAULT_MODEL / "model.onnx"))
    kept = [entry for entry in model.metadata_props if entry.key != PACKED]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    before = model.SerializeToString()
    assert not pairs.make_exact(model)
    assert before == model.SerializeToString()
