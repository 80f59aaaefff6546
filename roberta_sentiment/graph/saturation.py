"""Eight-bit products on CPUs that add them in 16 bits, where the sum of two large ones saturates.

x86 without VNNI does so with uint8 times int8, the form in which models are quantised. There the
weights are shifted to uint8 as a model is opened: the same numbers, and products that are exact.
"""

from __future__ import annotations

import functools
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime

if TYPE_CHECKING:
    import onnx

_PRODUCT = (
    b'\x08\x05:a\n\x18\n\x01a\n\x01b\x12\x01c"\rMatMulInteger\x12\x00Z\x15\n\x01a\x12\x10\n\x0e\x08'
    b"\x02\x12\n\n\x03\x12\x01m\n\x03\x12\x01kZ\x15\n\x01b\x12\x10\n\x0e\x08\x03\x12\n\n\x03\x12\x01"
    b"k\n\x03\x12\x01nb\x15\n\x01c\x12\x10\n\x0e\x08\x06\x12\n\n\x03\x12\x01m\n\x03\x12\x01nB\x04\n"
    b"\x00\x10\n"
)
"""A graph of one node, MatMulInteger of `a` (m, k) uint8 and `b` (k, n) int8."""
_NOT_SHIFTED = "QLinearMatMul"
"""The operator that ONNX Runtime 1.32 does not shift from opset 21 on."""
_SHIFT = {"session.x64quantprecision": "1"}
"""Lets ONNX Runtime shift weights. It also shifts those of QLinearMatMul that multiply int8, whose
product is exact without it, and then finds no kernel."""


@functools.cache
def has_exact_int8_dot() -> bool:
    """Whether ONNX Runtime's sums of uint8 times int8 are exact on this CPU, or saturate.

    It is tried, because what the kernel lists in /proc/cpuinfo is not what an emulated CPU does.
    """
    return _is_exact(127, 127)


def has_exact_pairs_only() -> bool:
    """Whether they saturate, but not where two neighbouring weights add up to 128: see `pairs`."""
    return not has_exact_int8_dot() and _is_exact(127, 1) and _is_exact(-1, -127)


def _is_exact(*weights: int) -> bool:
    """Whether a product of the largest activation with rows of these weights, in turn, is exact."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(_PRODUCT, options, providers=["CPUExecutionProvider"])
    inputs, outputs, largest = 64, 16, 255
    b = np.resize(np.array(weights, dtype=np.int8), (outputs, inputs)).T
    exact = largest * b.sum(axis=0, dtype=np.int64)
    # One row and several have kernels of their own.
    return all(
        (session.run(None, {"a": a, "b": np.ascontiguousarray(b)})[0] == exact).all()
        for a in (np.full((rows, inputs), largest, dtype=np.uint8) for rows in (1, 8))
    )


def exact_products(model: Path | bytes) -> tuple[Path | bytes, Mapping[str, str]]:
    """What to open in place of a model so that its eight-bit products are exact on this CPU.

    Nothing changes without need: with VNNI, uint8 times uint8 is the slower kernel.

    Args:
        model: the `.onnx` file, or its content.

    Returns:
        The model, or its content with shifted weights, and entries of the session by ONNX Runtime's
        keys.
    """
    if has_exact_int8_dot():
        return model, {}
    if not _mentions(model, _NOT_SHIFTED.encode()):
        return model, _SHIFT
    import onnx

    graph = onnx.load_from_string(model) if isinstance(model, bytes) else onnx.load(str(model))
    entries = {} if _has_signed_products(graph) else _SHIFT
    return (graph.SerializeToString() if shift_weights(graph) else model), entries


def shift_weights(model: onnx.ModelProto) -> int:
    """Make int8 weights of QLinearMatMul uint8, in place, where what they multiply is uint8.

    Returns:
        The number of nodes changed.
    """
    from onnx import TensorProto, numpy_helper

    constants = _constants(model)

    def add_128(name: str) -> str:
        new = f"{name}.uint8"
        if new not in constants:
            values = numpy_helper.to_array(constants[name])
            moved = (values.astype(np.int16) + 128).astype(np.uint8)
            constants[new] = numpy_helper.from_array(moved, new)
            model.graph.initializer.append(constants[new])
        return new

    changed = 0
    for node in model.graph.node:
        if node.op_type != _NOT_SHIFTED or not _is(constants, node.input[2], TensorProto.UINT8):
            continue
        if all(_is(constants, node.input[at], TensorProto.INT8) for at in (3, 5)):
            node.input[3], node.input[5] = add_128(node.input[3]), add_128(node.input[5])
            changed += 1
    return changed


def _has_signed_products(model: onnx.ModelProto) -> bool:
    from onnx import TensorProto

    constants = _constants(model)
    return any(
        node.op_type == _NOT_SHIFTED and _is(constants, node.input[2], TensorProto.INT8)
        for node in model.graph.node
    )


def _constants(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    return {tensor.name: tensor for tensor in model.graph.initializer}


def _is(constants: Mapping[str, onnx.TensorProto], name: str, kind: int) -> bool:
    return name in constants and constants[name].data_type == kind


def _mentions(model: Path | bytes, word: bytes) -> bool:
    if isinstance(model, bytes):
        return word in model
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(word) >= 0
