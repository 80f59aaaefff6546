"""Eight-bit weights in an order in which neighbours do not saturate.

CPUs without VNNI add the products of two neighbouring rows of a weight in 16 bits. That is exact
if the two add up to no more than `LIMIT` in any column, and faster than shifted weights, which
are exact always (docs/performance.md). The inner neurons of a feed-forward layer may stand in any
order, so those with large weights get neighbours with small ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper

from roberta_sentiment.graph.signature import PACKED

LIMIT = 128
"""An activation is at most 255, and 255 * 128 fits into 16 bits with a sign."""
_PRODUCT = "MatMulIntegerToFloat"
_WEIGHT, _SCALE, _ZERO_POINT, _BIAS = 1, 3, 5, 6
"""Inputs of a product."""
_ROUNDS = 40
_MOST_SATURATING = 0.5
"""Part of the pairs; with more at first, an order is not looked for."""
_MOST_ADDED = 1 / 16
"""Part of the rows that rows of zeros may be."""
_MULTIPLE = 16

Int8 = npt.NDArray[np.int8]
Order = npt.NDArray[np.intp]


def make_exact(model: onnx.ModelProto) -> bool:
    """Reorder or shift the int8 weights of a graph that `graph.fused` built, in place.

    Returns:
        Whether it is such a graph; all its products are exact in 16 bits then.
    """
    if not any(entry.key == PACKED for entry in model.metadata_props):
        return False
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    made = {name: node for node in model.graph.node for name in node.output}
    products = [
        node
        for node in model.graph.node
        if node.op_type == _PRODUCT and tensors[node.input[_WEIGHT]].data_type == TensorProto.INT8
    ]
    for node in products:
        layer = _find_layer(node, made, model.graph.node)
        if layer:
            layer.pair(tensors)
    shift = [node for node in products if _saturates(tensors[node.input[_WEIGHT]])]
    if shift:
        zero_point = numpy_helper.from_array(np.array(128, np.uint8), "products.zero_point")
        model.graph.initializer.append(zero_point)
    for node in shift:
        _shift(tensors[node.input[_WEIGHT]])
        node.input[_ZERO_POINT] = zero_point.name
    return True


@dataclasses.dataclass(frozen=True)
class _FeedForward:
    """Two products with a Gelu, and perhaps a multiplication by neuron, between them.

    Attributes:
        up, down: the products.
        factors: names of the constants by which neurons are multiplied.
        picked: names of the indices by which neurons are read for a product in float32.
    """

    up: onnx.NodeProto
    down: onnx.NodeProto
    factors: Sequence[str]
    picked: Sequence[str]

    def pair(self, tensors: dict[str, TensorProto]) -> None:
        """Reorder the neurons, if that makes the second product exact."""
        order = find_order(numpy_helper.to_array(tensors[self.down.input[_WEIGHT]]))
        if order is None:
            return
        vectors = [self.up.input[_SCALE], self.up.input[_BIAS], *self.factors]
        for name in (self.down.input[_WEIGHT], *vectors):
            _replace(tensors[name], _take(numpy_helper.to_array(tensors[name]), order))
        for name in self.picked:
            old = numpy_helper.to_array(tensors[name])
            _replace(tensors[name], np.array([np.flatnonzero(order == i)[0] for i in old]))
        up = tensors[self.up.input[_WEIGHT]]
        _replace(up, _take(numpy_helper.to_array(up).T, order).T)


def _find_layer(
    down: onnx.NodeProto, made: dict[str, onnx.NodeProto], nodes: Sequence[onnx.NodeProto]
) -> _FeedForward | None:
    active = made[down.input[0]].input[0]
    picked = [n.input[1] for n in nodes if n.op_type == "Gather" and n.input[0] == active]
    node = made[active]
    factors = [node.input[1]] if node.op_type == "Mul" else []
    if factors:
        node = made[node.input[0]]
    up = made[node.input[0]] if node.op_type == "Gelu" else None
    return _FeedForward(up, down, factors, picked) if up and up.op_type == _PRODUCT else None


def find_order(weight: Int8) -> Order | None:
    """An order of rows in which neighbours add up to `LIMIT` at most; -1 is a row of zeros.

    Args:
        weight: (inputs, outputs).
    """
    draw = np.random.default_rng(0)
    by_size = np.argsort(np.square(weight, dtype=np.int32).sum(axis=1), kind="stable")
    half = len(weight) // 2
    small, large = by_size[:half].copy(), by_size[: -half - 1 : -1]
    bad = saturating(weight[large], weight[small])
    if bad.mean() > _MOST_SATURATING:
        return None
    for _ in range(_ROUNDS):
        good = np.flatnonzero(~bad)
        one = np.flatnonzero(bad)[: len(good)]
        other = draw.choice(good, len(one), replace=False)
        fits = ~saturating(weight[large[one]], weight[small[other]])
        fits &= ~saturating(weight[large[other]], weight[small[one]])
        one, other = one[fits], other[fits]
        small[one], small[other] = small[other], small[one]
        bad[one] = False
    alone, rest = large[bad], small[bad]
    pairs = [np.stack([large[~bad], small[~bad]]), np.stack([alone, np.full_like(alone, -1)])]
    order = np.concatenate([np.concatenate(pairs, axis=1).T.ravel(), rest, by_size[half:-half]])
    order = np.append(order, np.full(-len(order) % _MULTIPLE, -1))
    if len(order) > (1 + _MOST_ADDED) * len(weight):
        return None
    ordered = _take(weight, order)
    return None if saturating(ordered[::2], ordered[1::2]).any() else order


def saturating(one: Int8, other: Int8) -> npt.NDArray[np.bool_]:
    """Which rows of two weights, (n, outputs) each, add up to more than `LIMIT` somewhere: (n,)."""
    a, b = one.astype(np.int16), other.astype(np.int16)
    above = np.maximum(a, 0) + np.maximum(b, 0)
    below = np.minimum(a, 0) + np.minimum(b, 0)
    found: npt.NDArray[np.bool_] = ((above > LIMIT) | (below < -LIMIT)).any(axis=1)
    return found


def _saturates(tensor: TensorProto) -> bool:
    weight = numpy_helper.to_array(tensor)
    return len(weight) % 2 == 1 or bool(saturating(weight[::2], weight[1::2]).any())


def _take(rows: npt.NDArray[Any], order: Order) -> npt.NDArray[Any]:
    """Rows in an order; zeros for -1."""
    taken = rows[order]
    taken[order < 0] = 0
    return taken


def _shift(tensor: TensorProto) -> None:
    """The same numbers as uint8, for a zero point of 128."""
    values = numpy_helper.to_array(tensor).astype(np.int16) + 128
    _replace(tensor, values.astype(np.uint8))


def _replace(tensor: TensorProto, values: npt.NDArray[Any]) -> None:
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))
