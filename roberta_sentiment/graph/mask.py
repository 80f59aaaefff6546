"""A real attention mask for graphs that were exported without one.

Exports of 2019 and 2020, the Model Zoo's among them, make a mask of ones inside the graph, so they
attend to padding. The ones are replaced by an input `attention_mask`; nothing else is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from roberta_sentiment.errors import GraphError

Constant = npt.NDArray[Any]

MASK = "attention_mask"

_REWRITES = {"Cast", "Unsqueeze", "Reshape", "Identity"}
_HIDDEN_AT_MOST = -1e4
"""A masked score is lowered at least this much; exp(-1e4) is 0 in float32."""


def add_mask(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a graph without mask that has an input `attention_mask`.

    The mask is int64 (batch, length), 1 for a token and 0 for right padding. With a mask of ones
    the copy answers as the original does.

    Args:
        model: a sequence-classification graph with one input, before any operator fusion.

    Raises:
        GraphError: the graph does not hold the pattern, so it was left alone; among them graphs
            that have a mask already and graphs whose attention was fused.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    constants = _constants(graph)
    inputs = [i for i in graph.input if i.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(i.name for i in inputs)
        raise GraphError(f"no mask can be added: the graph has {len(inputs)} inputs ({names})")
    producers = {output: node for node in graph.node for output in node.output}
    ones = _find_ones(graph, producers, constants, inputs[0].name)
    unused = [ones, producers[ones.input[0]]]
    for node in graph.node:
        for at, name in enumerate(node.input):
            if name == ones.output[0]:
                node.input[at] = MASK
    still_read = {name for node in graph.node for name in node.input}
    for node in unused:
        if not still_read.intersection(node.output):
            graph.node.remove(node)
            still_read = {name for kept in graph.node for name in kept.input}
    mask = onnx.ValueInfoProto()
    mask.CopyFrom(inputs[0])
    mask.name = MASK
    graph.input.append(mask)
    return changed


def _find_ones(
    graph: onnx.GraphProto,
    producers: Mapping[str, onnx.NodeProto],
    constants: Mapping[str, Constant],
    ids: str,
) -> onnx.NodeProto:
    """The one ConstantOfShape(1) that every softmax gets its mask from."""
    masks = {
        _added_mask(node, producers, constants) for node in graph.node if node.op_type == "Softmax"
    }
    if not masks:
        raise GraphError("no mask can be added: the graph has no Softmax node to mask")
    if len(masks) > 1:
        raise GraphError(f"no mask can be added: {len(masks)} different masks reach the attention")
    subtracted = _node(producers, masks.pop(), "Sub")
    if not _is_number(constants.get(subtracted.input[0]), lambda x: x == 1):
        raise GraphError("no mask can be added: the mask is not of the form 1 - x")
    node = producers.get(subtracted.input[1])
    while node is not None and node.op_type in _REWRITES:
        node = producers.get(node.input[0])
    if node is None or node.op_type != "ConstantOfShape" or not _is_ones(node):
        raise GraphError("no mask can be added: what is masked is not a tensor of ones")
    shape = _node(producers, node.input[0], "Shape")
    if shape.input[0] != ids:
        raise GraphError(f"no mask can be added: the mask has not the shape of input {ids}")
    return node


def _added_mask(
    softmax: onnx.NodeProto,
    producers: Mapping[str, onnx.NodeProto],
    constants: Mapping[str, Constant],
) -> str:
    """Name of the tensor `x` in softmax(scores + x * very negative)."""
    added = _node(producers, softmax.input[0], "Add")
    for name in added.input:
        product = producers.get(name)
        if product is None or product.op_type != "Mul":
            continue
        for one, other in ((0, 1), (1, 0)):
            if _is_number(constants.get(product.input[other]), lambda x: x <= _HIDDEN_AT_MOST):
                return str(product.input[one])
    raise GraphError("no mask can be added: a softmax gets scores without a mask")


def _node(producers: Mapping[str, onnx.NodeProto], name: str, op_type: str) -> onnx.NodeProto:
    node = producers.get(name)
    if node is None or node.op_type != op_type:
        found = node.op_type if node is not None else "an input"
        raise GraphError(f"no mask can be added: {found} stands where {op_type} is expected")
    return node


def _constants(graph: onnx.GraphProto) -> dict[str, Constant]:
    """Small initializers and Constant nodes by name; large ones as empty arrays."""
    found = {tensor.name: _small(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    found[node.output[0]] = _small(attribute.t)
    return found


def _small(tensor: TensorProto) -> Constant:
    if _size(tensor.dims) > 1:
        return np.empty(0)
    return np.asarray(numpy_helper.to_array(tensor))


def _size(dims: Iterable[int]) -> int:
    return int(np.prod(list(dims), dtype=np.int64))


def _is_number(value: Constant | None, condition: Callable[[float], bool]) -> bool:
    return value is not None and value.size == 1 and condition(float(value.item()))


def _is_ones(node: onnx.NodeProto) -> bool:
    values = [helper.get_attribute_value(a) for a in node.attribute if a.name == "value"]
    return bool(values) and _is_number(numpy_helper.to_array(values[0]), lambda x: x == 1)
