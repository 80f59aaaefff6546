"""Names of files with weights, read without the weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from roberta_sentiment.graph.external import external_files


def outside(name: str, location: str) -> TensorProto:
    """A tensor that lies in another file."""
    tensor = numpy_helper.from_array(np.zeros(4, dtype=np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="offset", value="0")
    tensor.external_data.add(key="location", value=location)
    return tensor


def graph(*, nested: bool) -> onnx.GraphProto:
    """A graph with weights inside and outside, in an attribute and in a graph within it."""
    inside = numpy_helper.from_array(np.ones(1000, dtype=np.float32), "inside")
    nodes = [helper.make_node("Constant", [], ["c"], value=outside("c", "constant.bin"))]
    if nested:
        nodes.append(helper.make_node("If", ["c"], ["d"], then_branch=graph(nested=False),
                                      else_branch=graph(nested=False)))  # fmt: skip
    names = ("deep",) if not nested else ("a.data", "weights/b")
    return helper.make_graph(nodes, "g", [], [], [inside, *(outside(name, name) for name in names)])


def test_every_location_is_found(tmp_path: Path) -> None:
    """Initializers, attributes and nested graphs may all keep weights elsewhere."""
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(graph(nested=True)).SerializeToString())
    assert ["a.data", "constant.bin", "deep", "weights/b"] == external_files(path)


@given(content=st.binary(max_size=300))
def test_any_other_file_has_none(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever lies there, ONNX Runtime says later what is wrong with it."""
    path = tmp_path_factory.mktemp("any") / "model.onnx"
    path.write_bytes(content)
    assert all(isinstance(name, str) for name in external_files(path))
