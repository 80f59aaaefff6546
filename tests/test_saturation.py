"""Int8 models answer the same whether or not this CPU adds eight-bit products in 16 bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from roberta_sentiment import saturation
from roberta_sentiment.artifact import DEFAULT_MODEL
from roberta_sentiment.session import open_session
from roberta_sentiment.tools.optimize import save_optimized

INPUTS, CLASSES = 64, 4
DRAW = np.random.default_rng(0)
TOKENS = DRAW.integers(180, 255, (3, INPUTS))
WEIGHT = (DRAW.uniform(0.9, 1, (INPUTS, CLASSES)) * [1, -1, 1, -1]).astype(np.float32)
EXACT = TOKENS @ WEIGHT
"""Large numbers of one sign: where sums saturate, half of each is lost."""


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
            [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", INPUTS])],
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


def static(kind: QuantFormat, *, per_channel: bool = False) -> Callable[[Path, Path], None]:
    def make(source: Path, target: Path) -> None:
        quantize_static(
            source,
            target,
            Tokens(),
            quant_format=kind,
            per_channel=per_channel,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )

    return make


@pytest.fixture(params=[False, True], ids=["this CPU", "as if without VNNI"])
def any_cpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights as they come and, wherever this runs, the weights shifted."""
    if request.param:
        for module in ("saturation", "classifier"):
            monkeypatch.setattr(f"roberta_sentiment.{module}.saturates", lambda: True)


@pytest.mark.usefixtures("any_cpu")
@pytest.mark.parametrize("opset", [17, 21])
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(dynamic(per_channel=False), id="dynamic, a tensor"),
        pytest.param(dynamic(per_channel=True), id="dynamic, a column"),
        pytest.param(static(QuantFormat.QDQ), id="QDQ, a tensor"),
        pytest.param(static(QuantFormat.QDQ, per_channel=True), id="QDQ, a column"),
        pytest.param(static(QuantFormat.QOperator), id="QOperator, a tensor"),
        pytest.param(static(QuantFormat.QOperator, per_channel=True), id="QOperator, a column"),
    ],
)
def test_files_of_other_quantisers_are_exact(
    tmp_path: Path, opset: int, make: Callable[[Path, Path], None]
) -> None:
    """What users bring: u8 x s8 in every form that ONNX Runtime's own quantiser writes."""
    onnx.save(product(opset), str(tmp_path / "fp32.onnx"))
    make(tmp_path / "fp32.onnx", tmp_path / "int8.onnx")
    save_optimized(onnx.load(str(tmp_path / "int8.onnx")), tmp_path / "optimized.onnx")
    for name in ("int8", "optimized"):
        session = open_session(tmp_path / f"{name}.onnx", threads=1, optimized=name == "optimized")
        logits = session.run(TOKENS, np.full(len(TOKENS), INPUTS))
        np.testing.assert_allclose(EXACT, logits, atol=0.01 * np.abs(EXACT).max())


def types_of_weights(path: Path) -> set[int]:
    """Element types of the second inputs of all eight-bit products."""
    graph = onnx.load(str(path), load_external_data=False).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    return {types[n.input[1]] for n in graph.node if n.op_type == "MatMulIntegerToFloat"}


@pytest.mark.parametrize(
    ("saturates", "kind"), [(False, TensorProto.INT8), (True, TensorProto.UINT8)]
)
def test_weights_are_shifted_only_where_they_must_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, saturates: bool, kind: int
) -> None:
    """With VNNI, uint8 times uint8 would cost three quarters of the speed."""
    monkeypatch.setattr(saturation, "saturates", lambda: saturates)
    save_optimized(onnx.load(str(DEFAULT_MODEL / "model.onnx")), tmp_path / "model.onnx")
    assert {kind} == types_of_weights(tmp_path / "model.onnx")


def test_shifted_weights_are_the_same_numbers(tmp_path: Path) -> None:
    """Weight and zero point move together; other tensors stay."""
    onnx.save(product(21), str(tmp_path / "fp32.onnx"))
    static(QuantFormat.QOperator)(tmp_path / "fp32.onnx", tmp_path / "int8.onnx")
    model = onnx.load(str(tmp_path / "int8.onnx"))

    def numbers() -> list[npt.NDArray[Any]]:
        found = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        node = next(n for n in model.graph.node if n.op_type == "QLinearMatMul")
        weight, zero = found[node.input[3]], found[node.input[5]]
        return [weight, weight.astype(int) - zero.astype(int)]

    (before, exact), changed, (after, same) = (
        numbers(), saturation.shift_weights(model), numbers()
    )  # fmt: skip
    assert ("int8", 1, "uint8") == (before.dtype.name, changed, after.dtype.name)
    np.testing.assert_array_equal(exact, same)
    assert 0 == saturation.shift_weights(model)


def test_the_probe_is_one_product() -> None:
    """Its bytes, spelled out."""
    names = {"a": TensorProto.UINT8, "b": TensorProto.INT8, "c": TensorProto.INT32}
    a, b, c = (
        helper.make_tensor_value_info(name, kind, shape)
        for (name, kind), shape in zip(names.items(), ("mk", "kn", "mn"), strict=True)
    )
    graph = helper.make_graph([helper.make_node("MatMulInteger", "ab", "c")], "", [a, b], [c])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 10)], ir_version=5)
    assert model.SerializeToString() == saturation._PRODUCT
