"""Quantisation: close to float32, and the same in any batch."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto

from roberta_sentiment.graph import int8
from roberta_sentiment.graph.fused import IDS, MASK, GraphBuilder
from roberta_sentiment.graph.int8 import (
    Scale,
    StaticInt8,
    calibrate,
    choose_scale,
    quantize,
    quantize_columns,
)
from roberta_sentiment.graph.weights import Array, Weights, from_onnx
from roberta_sentiment.run.session import open_session
from roberta_sentiment.tools.tolerance import batch_tolerance
from tests import zoo

LAYER = "roberta.encoder.layer.0.attention"
EXACT = Scale(
    smoothing=np.ones(2, dtype=np.float32),
    scale=1,
    zero_point=0,
    error=0,
    shift=np.zeros(1, dtype=np.float32),
    outliers=np.array([], dtype=np.int64),
)
"""Whole numbers up to 255 stay as they are."""


@pytest.fixture(scope="module")
def weights() -> Weights:
    """Those of the published graph in small."""
    return from_onnx(zoo.graph(), zoo.CONFIG)


def shifted(weights: Weights, by: float) -> Weights:
    """The classifier with an embedding norm whose every output lies near `by`."""
    name = "roberta.embeddings.LayerNorm"
    changed = {
        f"{name}.weight": weights.tensors[f"{name}.weight"] * np.float32(0.1),
        f"{name}.bias": np.full_like(weights.tensors[f"{name}.bias"], by),
    }
    return dataclasses.replace(weights, tensors={**weights.tensors, **changed})


def linear(
    precision: StaticInt8, name: str, weight: npt.NDArray[Any], bias: npt.NDArray[Any]
) -> onnx.ModelProto:
    """A graph of one linear layer whose input are the token ids themselves."""
    builder = GraphBuilder()
    x = builder.op("Cast", [IDS], to=TensorProto.FLOAT)
    unread = builder.op("Cast", [builder.op("ReduceMax", [MASK], keepdims=1)], to=TensorProto.FLOAT)
    out = precision.linear(builder, name, x, weight.astype(np.float32), bias.astype(np.float32))
    return builder.finish(builder.op("Mul", [out, unread]), len(bias))


def test_columns_are_rounded_to_half_a_step() -> None:
    """Scale and rounding of the weights, by hand."""
    weight = np.array([[1.27, 0, -3], [-0.635, 0, 1.5]], dtype=np.float32)
    eight, steps = quantize_columns(weight)
    np.testing.assert_array_equal([[127, 0, -127], [-64, 0, 64]], eight)
    np.testing.assert_allclose([0.01, 1, 3 / 127], steps, rtol=1e-6)


def test_int8_answers_stay_near_and_do_not_depend_on_the_batch(weights: Weights) -> None:
    """Padded to 512 beside 17 others, a text gets what it gets alone."""
    model, products = quantize(weights, zoo.IDS)
    assert 2 * 4 + 1 == products
    session = open_session(model.SerializeToString(), threads=1)
    ids, mask = zoo.padded()
    together = session.run(ids, mask.sum(axis=1))
    assert np.abs(together - zoo.LOGITS).max() < 0.2
    for row, sequence in enumerate(zoo.IDS):
        alone = session.run(np.array([sequence]), np.array([len(sequence)]))
        np.testing.assert_allclose(together[row], alone[0], atol=batch_tolerance("int8"))


def test_what_divides_the_attention_output_divides_the_values_and_their_bias() -> None:
    """Query and key stay, for the division crosses the attention by way of the values only."""
    output = dataclasses.replace(EXACT, smoothing=np.array([2, 4], dtype=np.float32))
    joined = f"{LAYER}.self.query_key_value"
    precision = StaticInt8({joined: EXACT, f"{LAYER}.output.dense": output})
    weight = np.array([[127, 0, 127, -1, 127, 0], [-1, 127, 0, 127, -3, 127]])
    bias = np.array([10, 20, 30, 40, 50, 60])
    model = linear(precision, joined, weight, bias)
    session = open_session(model.SerializeToString(), threads=1)
    exact = np.array([[200, 7], [0, 255]]) @ weight + bias
    found = session.run(np.array([[200, 7], [0, 255]]), np.array([2, 2]))
    np.testing.assert_allclose(exact / [1, 1, 1, 1, 2, 4], found, rtol=1e-6)


def test_the_layer_after_the_values_takes_the_division_back() -> None:
    """Its input comes divided, so its weight alone is multiplied."""
    output = dataclasses.replace(EXACT, smoothing=np.array([2, 4], dtype=np.float32))
    name = f"{LAYER}.output.dense"
    weight, bias = np.array([[127, -8], [-1, 127]]) / [[2], [4]], np.array([1, -1])
    model = linear(StaticInt8({name: output}), name, weight, bias)
    session = open_session(model.SerializeToString(), threads=1)
    expected = np.array([[200 * 2, 7 * 4]]) @ weight + bias
    found = session.run(np.array([[200, 7]]), np.array([2]))
    np.testing.assert_allclose(expected, found, rtol=1e-6)


def test_the_scale_with_the_least_error_is_chosen(
    weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For each layer by itself, of all strengths and tails, if a division costs nothing."""
    monkeypatch.setattr(int8, "WORTH", 1)
    chosen = calibrate(weights, zoo.IDS)
    errors: dict[str, list[float]] = {name: [] for name in chosen}
    for strength, tail in itertools.product(int8.STRENGTHS, int8.TAILS):
        monkeypatch.setattr(int8, "STRENGTHS", (strength,))
        monkeypatch.setattr(int8, "TAILS", (tail,))
        for name, scale in calibrate(weights, zoo.IDS).items():
            errors[name].append(scale.error)
    assert {name: min(found) for name, found in errors.items()} == {
        name: scale.error for name, scale in chosen.items()
    }
    assert all(min(found) < max(found) for found in errors.values())


def test_what_is_cut_off_counts_as_error(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the activations outside the range: the steps are fine, and the answer is not."""
    monkeypatch.setattr(int8, "TAILS", (0.5,))
    assert all(scale.error > 0.01 for scale in calibrate(weights, zoo.IDS).values())


@pytest.fixture
def uneven() -> Array:
    """Activations (256, 4) of which one channel is 50 times as large as the others."""
    draw = np.random.default_rng(0)
    return draw.integers(0, 20, (256, 4)).astype(np.float32) * np.array([50, 1, 1, 1], np.float32)


WEIGHT = np.array([[0.013, -0.02], [1.1, 0.7], [-0.9, 1.2], [0.8, -0.6]], dtype=np.float32)


def run_int8(chosen: Scale, x: Array, weight: Array) -> Array:
    """What ONNX Runtime computes for activations (rows, inputs) with a chosen scale."""
    name = f"{LAYER}.self.query"
    model = linear(StaticInt8({name: chosen}), name, weight, np.zeros(2))
    session = open_session(model.SerializeToString(), threads=1)
    return session.run(x.astype(np.int64), np.full(len(x), x.shape[1]))


def test_the_error_is_what_the_graph_loses(uneven: Array) -> None:
    """The search judges by the numbers that ONNX Runtime will compute."""
    chosen = choose_scale(uneven, WEIGHT)
    found = run_int8(chosen, uneven, WEIGHT)
    exact = uneven @ WEIGHT
    lost = np.square(found - exact).mean() / exact.var()
    assert lost == pytest.approx(chosen.error, rel=0.02)


def test_an_outlier_is_shared_with_the_weight(
    uneven: Array,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Divided the most, because one step for all channels would be too wide for the others."""
    chosen = choose_scale(uneven, WEIGHT)
    assert chosen.smoothing[0] > 5 * chosen.smoothing[1:].max()
    monkeypatch.setattr(int8, "STRENGTHS", (0.0,))
    assert chosen.error < choose_scale(uneven, WEIGHT).error / 10


def test_dividing_must_be_worth_its_multiplication(
    uneven: Array,
) -> None:
    """Where it costs nothing, the least error is enough."""
    x, weight = uneven.copy(), WEIGHT.copy()
    x[:, 0] /= 60
    plain, free = choose_scale(x, weight), choose_scale(x, weight, free=True)
    assert free.error < plain.error < free.error / int8.WORTH
    assert 0 == np.ptp(plain.smoothing) < np.ptp(free.smoothing)


@pytest.fixture
def one_large() -> tuple[Array, Array]:
    """Activations (256, 9) and a weight (9, 2): one product is 10,000 times as large as others."""
    draw = np.random.default_rng(0)
    x, weight = draw.integers(0, 20, (256, 9)), draw.normal(size=(9, 2))
    x[:, 4] *= 100
    weight[4] *= 100
    return x.astype(np.float32), weight.astype(np.float32)


def test_an_outlier_channel_stays_float32(one_large: tuple[Array, Array]) -> None:
    """In eight bits it would leave no step for the others; the graph adds its product."""
    x, weight = one_large
    chosen = choose_scale(x, weight)
    np.testing.assert_array_equal([4], chosen.outliers)
    off = run_int8(chosen, x, weight) - x @ weight
    others = np.delete(x, 4, axis=1) @ np.delete(weight, 4, axis=0)
    assert np.square(off).mean() < 1e-3 * others.var()


def test_channels_of_like_size_are_all_in_eight_bits(uneven: Array) -> None:
    """An outlier that its weight makes up for needs no product of its own."""
    assert not choose_scale(uneven, WEIGHT).outliers.size


def test_the_mean_error_goes_into_the_bias(uneven: Array) -> None:
    """Over the calibration rows the graph's mean output is that of float32."""
    chosen = choose_scale(uneven, WEIGHT)
    found = run_int8(chosen, uneven, WEIGHT)
    np.testing.assert_allclose((uneven @ WEIGHT).mean(axis=0), found.mean(axis=0), atol=1e-3)
    assert np.abs(chosen.shift).max() > 0.01


def test_a_tail_is_cut_at_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of -100 to 100: -50 to 50 is left."""
    monkeypatch.setattr(int8, "STRENGTHS", (0.0,))
    monkeypatch.setattr(int8, "TAILS", (0.5,))
    x = np.linspace(-100, 100, 201, dtype=np.float32)[:, None]
    chosen = choose_scale(x, np.ones((1, 1), dtype=np.float32))
    assert 128 == chosen.zero_point
    np.testing.assert_allclose(100 / 255, chosen.scale, rtol=1e-6)


@pytest.mark.parametrize("by", [40.0, -40.0])
def test_the_range_holds_zero(weights: Weights, by: float) -> None:
    """All activations on one side of it: the zero point is still one of uint8."""
    model = shifted(weights, by)
    scales = calibrate(model, zoo.IDS)
    first = scales[f"{LAYER}.self.query_key_value"]
    assert (0 if by > 0 else 255) == first.zero_point
    assert all(0 <= scale.zero_point <= 255 for scale in scales.values())
    assert 0.15 < first.scale < 0.17
