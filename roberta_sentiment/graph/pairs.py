"""Eight-bit weights of which no two neighbours saturate.

CPUs without VNNI add the products of two neighbouring rows of a weight in 16 bits. That is exact
if the two add up to no more than `LIMIT` in any column, and faster than shifted weights, which
are exact always (docs/performance.md).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper

from roberta_sentiment.graph.signature import PACKED

LIMIT = 128
"""An activation is at most 255, and 255 * 128 fits into 16 bits with a sign."""
_PRODUCT = "MatMulIntegerToFloat"
_WEIGHT, _ZERO_POINT = 1, 5
"""Inputs of a product."""


def largest_sums(weight: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """Largest sum, in each column, of two neighbours of one sign: rows 0 and 1, 2 and 3, and so on.

    Args:
        weight: (inputs, outputs).

    Returns:
        (outputs,), positive.
    """
    rows = weight.astype(np.float32)
    if len(rows) % 2:
        rows = np.concatenate([rows, np.zeros_like(rows[:1])])
    above, below = np.maximum(rows, 0), np.maximum(-rows, 0)
    sums = np.maximum(above[::2] + above[1::2], below[::2] + below[1::2])
    found: npt.NDArray[np.float32] = sums.max(axis=0)
    return found


def make_exact(model: onnx.ModelProto) -> bool:
    """Shift the int8 weights that saturate to uint8, in place, of a graph that `graph.fused` built.

    Returns:
        Whether it is such a graph; all its products are exact in 16 bits then.
    """
    if not any(entry.key == PACKED for entry in model.metadata_props):
        return False
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    zero_point = numpy_helper.from_array(np.array(128, np.uint8), "products.zero_point")
    model.graph.initializer.append(zero_point)
    for node in model.graph.node:
        if node.op_type != _PRODUCT:
            continue
        tensor = tensors[node.input[_WEIGHT]]
        weight = numpy_helper.to_array(tensor)
        if tensor.data_type == TensorProto.INT8 and (largest_sums(weight) > LIMIT).any():
            shifted = (weight.astype(np.int16) + 128).astype(np.uint8)
            tensor.CopyFrom(numpy_helper.from_array(shifted, tensor.name))
            node.input[_ZERO_POINT] = zero_point.name
    return True
