"""What a graph is made of, read without its weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from roberta_sentiment.errors import ArtifactError, GraphError
from roberta_sentiment.graph.structure import external_files, read_structure
from roberta_sentiment.model.artifact import open_artifact
from roberta_sentiment.run.session import open_session
from tests import toy


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


def test_functions_lists_and_sparse_tensors_count(tmp_path: Path) -> None:
    """What is not found is not in the version of the model."""
    constant = helper.make_node("Constant", [], ["c"], value=outside("f", "function.bin"))
    function = helper.make_function("own", "F", [], ["c"], [constant], [])
    many = helper.make_node("Custom", [], ["m"])
    many.attribute.append(helper.make_attribute("each", [outside("l", "list.bin")]))
    made = helper.make_graph([many], "g", [], [])
    sparse = made.sparse_initializer.add(dims=[4])
    sparse.values.CopyFrom(outside("s", "sparse.bin"))
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(made, functions=[function]).SerializeToString())
    assert ["function.bin", "list.bin", "sparse.bin"] == external_files(path)


@pytest.mark.parametrize("missing", [0, 1], ids=["whole", "one byte short"])
def test_weights_that_are_cut_short_are_refused(tmp_path: Path, missing: int) -> None:
    """The graph says how much of the file it needs."""
    tensor = outside("w", "w.bin")
    tensor.external_data.add(key="length", value="16")
    made = helper.make_graph([helper.make_node("Identity", ["w"], ["x"])], "g", [], [], [tensor])
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(made).SerializeToString())
    (tmp_path / "w.bin").write_bytes(bytes(16 - missing))
    if not missing:
        assert {"w.bin": 16} == read_structure(path).external_files
        return
    with pytest.raises(ArtifactError, match=r"w\.bin has 15 bytes.*16 of it.*cut short"):
        read_structure(path)


@pytest.mark.parametrize("linked", [("w.bin",), ("w.bin", "model.onnx")], ids=["weights", "both"])
def test_weights_are_links_only_where_onnx_runtime_follows_them(
    tmp_path: Path, linked: tuple[str, ...]
) -> None:
    """A hub's cache links graph and weights into one store; a link from elsewhere is refused."""
    directory, store = toy.write(tmp_path / "model"), tmp_path / "store"
    onnx.save(onnx.load(directory / "model.onnx"), directory / "model.onnx",
              save_as_external_data=True, location="w.bin", size_threshold=1024)  # fmt: skip
    store.mkdir()
    for name in linked:
        (directory / name).rename(store / name)
        (directory / name).symlink_to(store / name)
    artifact = open_artifact(directory)
    if len(linked) == 2:
        assert {"w.bin"} == set(artifact.structure.external_files)
        assert open_session(artifact.onnx_path, threads=1).has_mask
        return
    with pytest.raises(GraphError):
        open_session(artifact.onnx_path, threads=1)
    with pytest.raises(ArtifactError, match=r"w\.bin, a link that leads out of .*cp -L"):
        _ = artifact.structure
