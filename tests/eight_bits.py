"""Small int8 files as ONNX Runtime's own quantiser writes them, with answers that saturate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

INPUTS, CLASSES = 64, 4
DRAW = np.random.default_rng(0)
TOKENS = DRAW.integers(180, 255, (3, INPUTS))
WEIGHT = (DRAW.uniform(0.9, 1, (INPUTS, CLASSES)) * [1, -1, 1, -1]).astype(np.float32)
EXACT = TOKENS @ WEIGHT
"""Large numbers of one sign: where sums saturate, a large part of each is lost."""
TOLERANCE = 0.01 * float(np.abs(EXACT).max())
"""Rounding to eight bits; what saturation loses is many times as much."""


def product(opset: int) -> onnx.ModelProto:
    """A classification graph whose logits are the token ids times `WEIGHT`."""
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["x", "weight"], ["logits"]),
    ]
    shape: list[str | int] = ["batch", CLASSES]
    return helper.make_model(
        helper.make_graph(
            nodes,
            "product",
            [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)],
            [numpy_helper.from_array(WEIGHT, "weight")],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=10,
    )


class Tokens(CalibrationDataReader):  # type: ignore[misc]
    """`TOKENS` once, as ONNX Runtime's quantiser asks for them."""

    def __init__(self) -> None:
        self._left: list[dict[str, Any]] = [{"input_ids": TOKENS}]

    def get_next(self) -> dict[str, Any] | None:
        return self._left.pop() if self._left else None


def dynamic(*, per_channel: bool) -> Callable[[Path, Path], None]:
    def make(source: Path, target: Path) -> None:
        quantize_dynamic(source, target, per_channel=per_channel, weight_type=QuantType.QInt8)

    return make


def static(
    kind: QuantFormat, *, per_channel: bool = False, activations: QuantType = QuantType.QUInt8
) -> Callable[[Path, Path], None]:
    def make(source: Path, target: Path) -> None:
        quantize_static(
            source,
            target,
            Tokens(),
            quant_format=kind,
            per_channel=per_channel,
            activation_type=activations,
            weight_type=QuantType.QInt8,
        )

    return make


KINDS: dict[str, Callable[[Path, Path], None]] = {
    "dynamic, a tensor": dynamic(per_channel=False),
    "dynamic, a column": dynamic(per_channel=True),
    "QDQ, a tensor": static(QuantFormat.QDQ),
    "QDQ, a column": static(QuantFormat.QDQ, per_channel=True),
    "QOperator, a tensor": static(QuantFormat.QOperator),
    "QOperator, a column": static(QuantFormat.QOperator, per_channel=True),
    "QDQ, signed": static(QuantFormat.QDQ, activations=QuantType.QInt8),
    "QOperator, signed": static(QuantFormat.QOperator, activations=QuantType.QInt8),
    "QOperator, signed, a column": static(
        QuantFormat.QOperator, per_channel=True, activations=QuantType.QInt8
    ),
}
"""How to make an int8 file of a float32 one: scheme, and what has a scale of its own."""
OPSETS = (17, 21)


def write(directory: Path, kind: str, opset: int) -> Path:
    """A file of a kind; its logits for `TOKENS` are `EXACT` to `TOLERANCE`."""
    source, target = directory / f"fp32-{opset}.onnx", directory / f"{kind}-{opset}.onnx"
    onnx.save(product(opset), str(source))
    KINDS[kind](source, target)
    return target


def weight_types(path: Path) -> Counter[int]:
    """How many eight-bit products of a file have weights of each type."""
    graph = onnx.load(str(path), load_external_data=False).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    products = (node for node in graph.node if node.op_type == "MatMulIntegerToFloat")
    return Counter(types[node.input[1]] for node in products)
