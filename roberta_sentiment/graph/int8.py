"""Eight-bit weights and activations whose answers do not depend on the other texts in the batch.

Each activation has one scale, fixed by calibration; a scale computed over the whole batch would let
one text change another's result. Outlier channels are first divided between activation and weight
(SmoothQuant, Xiao et al., ICML 2023); strength and range are chosen per layer for the least squared
error of its output over the calibration texts. The few channels for which that can't be enough are
multiplied in float32 (Dettmers et al., NeurIPS 2022), and the mean error of each output goes into
its bias (Nagel et al., ICCV 2019). The weights are exact in the fastest product of every CPU, see
`pairs`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto

from roberta_sentiment.graph.fused import (
    IDS,
    MASK,
    MICROSOFT,
    Float32,
    GraphBuilder,
    Precision,
    build,
)
from roberta_sentiment.graph.pairs import LIMIT, largest_sums
from roberta_sentiment.graph.weights import Array, Weights

STRENGTHS = (0.0, 0.7, 0.8, 0.9)
"""Part of an outlier that moves to the weight; 0 leaves the activation unchanged."""
WORTH = 0.5
"""Part of the squared error that may be left where the activation takes a multiplication for it."""
TAILS = (0.0, 1e-5, 3e-5, 1e-4, 3e-4)
"""Part of the activations that is cut off, both ends together."""
OUTLIER = 100
"""Times the median channel's largest product with a weight, from which on a channel stays float32.

Where RoBERTa has such channels, in its second linear layer after the activation, they are one or
two of thousands and the next is at 20."""
ROWS_PER_LAYER = 8_192
"""Activations kept for the search, rows of one token."""
_LARGEST = 127
_WITH_VALUES = (".query_key_value", ".key_value")
"""Layers whose last columns are the attention's values; the attention mixes tokens, not columns, so
what divides its output may as well divide these columns."""
_AFTER_VALUES = ".attention.output.dense"


@dataclasses.dataclass(frozen=True)
class Scale:
    """How one linear layer's input becomes uint8.

    Attributes:
        smoothing: (inputs,) float32 divisors of the activation's channels.
        scale: of the quantised activation.
        zero_point: 0 to 255.
        error: mean squared error of the layer's output, as a part of the output's variance.
        shift: (outputs,) float32, added to the bias: minus the mean error of the output.
        outliers: indices of the input's channels that are multiplied in float32.
    """

    smoothing: Array
    scale: float
    zero_point: int
    error: float
    shift: Array
    outliers: npt.NDArray[np.int64]


class Recorder(Float32):
    """Float32, and the input of each linear layer is an output of the graph."""

    def __init__(self) -> None:
        self.inputs: list[str] = []
        self.layers: dict[str, tuple[str, Array]] = {}

    def linear(self, builder: GraphBuilder, name: str, x: str, weight: Array, bias: Array) -> str:
        self.layers[name] = (x, weight)
        if x not in self.inputs:
            self.inputs.append(x)
        return super().linear(builder, name, x, weight, bias)


class StaticInt8(Precision):
    """Linear layers as u8 x s8 products with one weight scale a column; embeddings as int8 rows.

    Args:
        scales: of each linear layer, as `calibrate` gives them.
    """

    def __init__(self, scales: Mapping[str, Scale]) -> None:
        self._scales = scales
        self.products = 0

    def embed(self, builder: GraphBuilder, table: Array, ids: str) -> str:
        steps = _steps(np.abs(table).max(axis=1, keepdims=True))
        rows = np.rint(table / steps).astype(np.int8)
        found = builder.op("Gather", [builder.constant(rows, "words"), ids])
        scale = builder.op("Gather", [builder.constant(steps, "words.scale"), ids])
        return builder.op("Mul", [builder.op("Cast", [found], to=TensorProto.FLOAT), scale])

    def linear(self, builder: GraphBuilder, name: str, x: str, weight: Array, bias: Array) -> str:
        chosen = self._scales[name]
        if not (np.all(chosen.smoothing == 1) or name.endswith(_AFTER_VALUES)):
            x = builder.op("Mul", [x, builder.constant(1 / chosen.smoothing)])
        scale = builder.constant(np.float32(chosen.scale))
        zero_point = builder.constant(np.uint8(chosen.zero_point))
        weight, bias = weight * chosen.smoothing[:, None], bias + chosen.shift
        if name.endswith(_WITH_VALUES):
            after = name.rpartition(".attention.self.")[0] + _AFTER_VALUES
            smoothing = self._scales[after].smoothing
            divisors = np.ones_like(bias)
            divisors[-len(smoothing) :] = smoothing
            weight, bias = weight / divisors, bias / divisors
        eight, steps = quantize_columns(_without(weight, chosen.outliers))
        self.products += 1
        product = builder.op(
            "MatMulIntegerToFloat",
            [
                builder.op("QuantizeLinear", [x, scale, zero_point]),
                builder.constant(eight, f"{name}.weight"),
                scale,
                builder.constant(steps, f"{name}.scale"),
                zero_point,
                "",
                builder.constant(bias, f"{name}.bias"),
            ],
            domain=MICROSOFT,
        )
        if not len(chosen.outliers):
            return product
        channels = builder.op("Gather", [x, builder.constant(chosen.outliers)], axis=1)
        rows = builder.constant(weight[chosen.outliers], f"{name}.exact")
        return builder.op("Gemm", [channels, rows, product])


def quantize(weights: Weights, sequences: Sequence[Sequence[int]]) -> tuple[onnx.ModelProto, int]:
    """Quantise a classifier.

    Args:
        weights: float32.
        sequences: token ids of the calibration texts, special tokens included.

    Returns:
        The graph, and the number of its eight-bit products.
    """
    precision = StaticInt8(calibrate(weights, sequences))
    return build(weights, precision), precision.products


def calibrate(weights: Weights, sequences: Sequence[Sequence[int]]) -> dict[str, Scale]:
    """Choose smoothing and range of each linear layer's input.

    Args:
        weights: float32.
        sequences: token ids of texts such as the model will see, each run alone.
    """
    recorder = Recorder()
    model = build(weights, recorder, recorder.inputs)
    seen = _activations(model, recorder.inputs, sequences)
    return {
        name: choose_scale(seen[x], weight, free=name.endswith(_AFTER_VALUES))
        for name, (x, weight) in recorder.layers.items()
    }


def quantize_columns(weight: Array) -> tuple[npt.NDArray[np.int8], Array]:
    """Symmetric int8 with one scale a column, in which two neighbours add up to `LIMIT` at most.

    Returns:
        (inputs, outputs) int8 and (outputs,) float32.
    """
    # Rounding moves the sum of two by one step at most.
    sums = largest_sums(weight) * (_LARGEST / (LIMIT - 0.5))
    steps = _steps(np.maximum(np.abs(weight).max(axis=0), sums))
    return np.rint(weight / steps).astype(np.int8), steps


def _steps(largest: Array) -> Array:
    return np.where(largest > 0, largest / _LARGEST, 1).astype(np.float32)


def _activations(
    model: onnx.ModelProto, names: Sequence[str], sequences: Sequence[Sequence[int]]
) -> dict[str, Array]:
    """Inputs of the linear layers over all texts, at most `ROWS_PER_LAYER` rows of each."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    most = max(1, ROWS_PER_LAYER // max(1, len(sequences)))
    kept: dict[str, list[Array]] = {name: [] for name in names}
    draw = np.random.default_rng(0)
    for sequence in sequences:
        ids = np.array([sequence], dtype=np.int64)
        found = session.run(list(names), {IDS: ids, MASK: np.ones_like(ids)})
        for name, values in zip(names, found, strict=True):
            rows = values.reshape(-1, values.shape[-1])
            if len(rows) > most:
                picked = draw.choice(len(rows), most, replace=False)
                picked[0] = 0
                rows = rows[picked]
            kept[name].append(rows)
    return {name: np.concatenate(rows) for name, rows in kept.items()}


def choose_scale(x: Array, weight: Array, *, free: bool = False) -> Scale:
    """The scale with the least error of x @ weight.

    Args:
        x: (rows, inputs) activations.
        weight: (inputs, outputs).
        free: whether dividing the activation costs nothing; if not, it must be `WORTH` it.
    """
    outliers = _outliers(x, weight)
    x, weight = _without(x.T, outliers).T, _without(weight, outliers)
    wanted = x @ weight
    variance = float(wanted.var()) or 1.0
    best: Scale | None = None
    least = np.inf
    for strength in STRENGTHS:
        worth = 1 if free or strength == 0 else WORTH
        smoothing = _smoothing(x, weight, strength)
        eight, steps = quantize_columns(weight * smoothing[:, None])
        smooth, rounded_weight = x / smoothing, eight.astype(np.float32) * steps
        for scale, zero_point in _ranges(smooth):
            rounded = np.clip(np.rint(smooth / scale) + zero_point, 0, 255) - zero_point
            off = (rounded * np.float32(scale)) @ rounded_weight - wanted
            shift = -off.mean(axis=0)
            error = float(np.square(off + shift).mean()) / variance
            if best is None or error / worth < least:
                least = error / worth
                best = Scale(smoothing, scale, zero_point, error, shift, outliers)
    assert best is not None
    return best


def _outliers(x: Array, weight: Array) -> npt.NDArray[np.int64]:
    """Channels of (rows, inputs) whose largest product is `OUTLIER` times the median one's."""
    largest = np.abs(x).max(axis=0) * np.abs(weight).max(axis=1)
    return np.flatnonzero(largest > OUTLIER * np.median(largest))


def _without(rows: Array, outliers: npt.NDArray[np.int64]) -> Array:
    """The rows with zeros in place of those that are multiplied in float32."""
    rest = rows.copy()
    rest[outliers] = 0
    return rest


def _smoothing(x: Array, weight: Array, strength: float) -> Array:
    if strength == 0:
        return np.ones(x.shape[1], dtype=np.float32)
    activation = np.abs(x).max(axis=0) + 1e-5
    own = np.abs(weight).max(axis=1) + 1e-5
    factors = activation**strength / own ** (1 - strength)
    return np.asarray(factors / np.exp(np.log(factors).mean()), dtype=np.float32)


def _ranges(x: Array) -> Iterator[tuple[float, int]]:
    """Scale and zero point for each of `TAILS`; the range always holds 0."""
    ends = [part for tail in TAILS for part in (tail / 2, 1 - tail / 2)]
    found = np.quantile(x, ends).reshape(-1, 2)
    for low, high in found.tolist():
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / 255 or 1.0
        yield float(np.float32(scale)), round(-low / scale)
