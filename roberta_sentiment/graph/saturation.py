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


@functools.cache
def has_exact_int8_dot() -> bool:
    """Whether ONNX Runtime's sums of uint8 times int8 are exact on this CPU, or saturate.

    It is tried, because what the kernel lists in /proc/cpuinfo is not what an emulated CPU does.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(_PRODUCT, options, providers=["CPUExecutionProvider"])
    inputs, outputs, largest, weight = 64, 16, 255, 127
    b = np.full((inputs, outputs), weight, dtype=np.int8)
    # One row and several have kernels of their own.
    return all(
        (session.run(None, {"a": a, "b": b})[0] == inputs * largest * weight).all()
        for a in (np.full((rows, inputs), largest, dtype=np.uint8) for rows in (1, 8))
    )


def exact_products() -> Mapping[str, str]:
    """Entries of a session, by ONNX Runtime's keys, that make it shift weights where needed.

    Without need they would cost speed: with VNNI, uint8 times uint8 is the slower kernel.
    """
    return {} if has_exact_int8_dot() else {"session.x64quantprecision": "1"}


def shifted(model: Path | bytes) -> Path | bytes:
    """The model, or the content of one whose weights are shifted where a session does not do it.

    Args:
        model: the `.onnx` file, or its content.
    """
    if has_exact_int8_dot() or not _mentions(model, _NOT_SHIFTED.encode()):
        return model
    import onnx

    graph = onnx.load_from_string(model) if isinstance(model, bytes) else onnx.load(str(model))
    return graph.SerializeToString() if shift_weights(graph) else model


def shift_weights(model: onnx.ModelProto) -> int:
    """Make int8 weights of QLinearMatMul uint8, in place, where what they multiply is uint8.

    Returns:
        The number of nodes changed.
    """
    from onnx import TensorProto, numpy_helper

    constants = {tensor.name: tensor for tensor in model.graph.initializer}

    def is_kind(name: str, kind: int) -> bool:
        return name in constants and constants[name].data_type == kind

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
        if node.op_type != _NOT_SHIFTED or not is_kind(node.input[2], TensorProto.UINT8):
            continue
        if all(is_kind(node.input[at], TensorProto.INT8) for at in (3, 5)):
            node.input[3], node.input[5] = add_128(node.input[3]), add_128(node.input[5])
            changed += 1
    return changed


def _mentions(model: Path | bytes, word: bytes) -> bool:
    if isinstance(model, bytes):
        return word in model
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(word) >= 0
