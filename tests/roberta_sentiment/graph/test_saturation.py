"""Int8 models answer the same whether or not this CPU adds eight-bit products in 16 bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from roberta_sentiment.graph import saturation
from roberta_sentiment.model.artifact import DEFAULT_MODEL
from roberta_sentiment.model.optimize import save_optimized
from roberta_sentiment.run.session import open_session
from tests import eight_bits
from tests.eight_bits import EXACT, TOKENS


@pytest.fixture(params=[False, True], ids=["this CPU", "as if without VNNI"])
def any_cpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights as they come and, wherever this runs, the weights shifted."""
    if request.param:
        for module in ("graph.saturation", "classifier"):
            monkeypatch.setattr(f"roberta_sentiment.{module}.has_exact_int8_dot", lambda: False)


@pytest.mark.usefixtures("any_cpu")
@pytest.mark.parametrize("opset", eight_bits.OPSETS)
@pytest.mark.parametrize("kind", eight_bits.KINDS)
def test_files_of_other_quantisers_are_exact(tmp_path: Path, kind: str, opset: int) -> None:
    """What users bring: u8 x s8 in every form that ONNX Runtime's own quantiser writes."""
    file = eight_bits.write(tmp_path, kind, opset)
    save_optimized(onnx.load(str(file)), tmp_path / "optimized.onnx")
    for path, optimized in ((file, False), (tmp_path / "optimized.onnx", True)):
        session = open_session(path, threads=1, optimized=optimized)
        logits = session.run(TOKENS, np.full(len(TOKENS), TOKENS.shape[1]))
        np.testing.assert_allclose(EXACT, logits, atol=eight_bits.TOLERANCE)


def test_weights_stay_as_they_are_where_products_are_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With VNNI, uint8 times uint8 would cost three quarters of the speed."""
    monkeypatch.setattr(saturation, "has_exact_int8_dot", lambda: True)
    save_optimized(onnx.load(str(DEFAULT_MODEL / "model.onnx")), tmp_path / "model.onnx")
    assert {TensorProto.INT8: 25} == eight_bits.weight_types(tmp_path / "model.onnx")


def test_shifted_weights_are_the_same_numbers(tmp_path: Path) -> None:
    """Weight and zero point move together; other tensors stay."""
    model = onnx.load(str(eight_bits.write(tmp_path, "QOperator, a column", 21)))

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
