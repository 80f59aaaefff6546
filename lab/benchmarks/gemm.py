"""The limit: what ONNX Runtime's own matrix product reaches on this machine."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

ROWS, INPUTS, OUTPUTS = 512, 768, 3072
_RUNS = 15


def limit(*, eight_bits: bool, threads: int) -> float:
    """Multiplications and additions a second, in 10^9, of a (512, 768) x (768, 3072) product.

    Args:
        eight_bits: u8 x s8 (MatMulInteger) instead of float32.
        threads: of the session.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    model = _model(eight_bits).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    draw = np.random.default_rng(0)
    x: Any = draw.normal(size=(ROWS, INPUTS)).astype(np.float32)
    if eight_bits:
        x = draw.integers(0, 255, (ROWS, INPUTS), dtype=np.uint8)
    seconds = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        session.run(None, {"x": x})
        seconds.append(time.perf_counter() - start)
    return 2 * ROWS * INPUTS * OUTPUTS / statistics.median(seconds) / 1e9


def _model(eight_bits: bool) -> onnx.ModelProto:
    draw = np.random.default_rng(1)
    kind, out = (TensorProto.UINT8, TensorProto.INT32) if eight_bits else (TensorProto.FLOAT,) * 2
    weight = (
        draw.integers(-127, 127, (INPUTS, OUTPUTS), dtype=np.int8)
        if eight_bits
        else draw.normal(size=(INPUTS, OUTPUTS)).astype(np.float32)
    )
    return helper.make_model(
        helper.make_graph(
            [helper.make_node("MatMulInteger" if eight_bits else "MatMul", ["x", "w"], ["y"])],
            "product",
            [helper.make_tensor_value_info("x", kind, [ROWS, INPUTS])],
            [helper.make_tensor_value_info("y", out, [ROWS, OUTPUTS])],
            [numpy_helper.from_array(weight, "w")],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )


def operations(lengths: list[int], *, layers: int, hidden: int, inner: int) -> float:
    """Multiplications and additions, in 10^9, of a RoBERTa encoder over texts of these lengths.

    Counts the products of the linear layers and of the attention; every layer in full.
    """
    linear = 2 * (4 * hidden * hidden + 2 * hidden * inner)
    return sum(n * layers * (linear + 4 * n * hidden) for n in lengths) / 1e9
