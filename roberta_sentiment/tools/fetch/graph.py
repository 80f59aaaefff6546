"""What a fetched graph is: whether it is one, its precision, and where it keeps its weights."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx.external_data_helper import uses_external_data

from roberta_sentiment.errors import ArtifactError

_POINTER = b"version https://git-lfs.github.com/spec/"
_EIGHT_BITS = {
    "ConvInteger",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "DynamicQuantizeMatMul",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "MatMulNBits",
    "QAttention",
    "QGemm",
    "QLinearMatMul",
}


def read_precision(path: Path) -> str:
    """How a graph computes: "fp32", "fp16" or "int8".

    Raises:
        ArtifactError: the file is no ONNX graph, or a file with its weights is missing.
    """
    with path.open("rb") as file:
        head = file.read(200)
    if head.startswith(_POINTER):
        raise ArtifactError(
            f"{path.name} is a Git LFS pointer, not the file it stands for; take the file's own "
            "address, or run git lfs pull"
        )
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise ArtifactError(f"{path.name} is a web page, not a graph; take the file's own address")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf has no common base class for its errors
        raise ArtifactError(f"{path.name} is no ONNX graph: {type(error).__name__}") from None
    if not model.graph.node:
        raise ArtifactError(f"{path.name} is no ONNX graph: it holds no nodes")
    _find_external(model, path)
    if {node.op_type for node in model.graph.node} & _EIGHT_BITS:
        return "int8"
    half = sum(t.data_type == onnx.TensorProto.FLOAT16 for t in model.graph.initializer)
    single = sum(t.data_type == onnx.TensorProto.FLOAT for t in model.graph.initializer)
    return "fp16" if half > single else "fp32"


def _find_external(model: onnx.ModelProto, path: Path) -> None:
    locations = {
        entry.value
        for tensor in model.graph.initializer
        if uses_external_data(tensor)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    missing = sorted(name for name in locations if not (path.parent / name).is_file())
    if missing:
        raise ArtifactError(
            f"{path.name} keeps weights in {', '.join(missing)}, which the source does not have "
            "beside it"
        )
