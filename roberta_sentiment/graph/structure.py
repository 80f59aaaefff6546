"""What a graph is made of, read from its file without its weights."""

from __future__ import annotations

import dataclasses
import mmap
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import onnx
from google.protobuf.message import Message
from onnx import TensorProto

from roberta_sentiment.errors import ArtifactError

Ending = Literal["softmax", "sigmoid"]
"""Activations that a graph may end in."""

_POINTER = b"version https://git-lfs.github.com/spec/"
_LARGE = 1024
"""Bytes from which the content of a tensor is left out."""
_TENSOR = dict.fromkeys((4, 5, 6, 7, 9, 10, 11), True)
_GRAPH: dict[int, Any] = {5: _TENSOR, 1: {5: {5: _TENSOR}}}
_MODEL: dict[int, Any] = {7: _GRAPH}
"""Numbers of protobuf fields on the way to the contents of initializers and constants."""

_EIGHT_BITS = {
    "ConvInteger",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "DynamicQuantizeLSTM",
    "DynamicQuantizeMatMul",
    "MatMulInteger",
    "MatMulInteger16",
    "MatMulIntegerToFloat",
    "MatMulNBits",
    "QAttention",
    "QGemm",
    "QLinearMatMul",
}
_SCALED_BY_THE_BATCH = {
    "DynamicQuantizeLinear",
    "DynamicQuantizeLSTM",
    "DynamicQuantizeMatMul",
    "MatMulNBits",
}
_HALF = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
_PASSING = {"Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "DequantizeLinear",
            "QuantizeLinear", "Dropout"}  # fmt: skip
_ACTIVATIONS: Mapping[str, Ending] = {
    "Softmax": "softmax",
    "QLinearSoftmax": "softmax",
    "Sigmoid": "sigmoid",
    "QLinearSigmoid": "sigmoid",
}
_POSITION_NAMES = ("position_embeddings", "embed_positions", "wpe.weight")
_WORD_NAMES = ("word_embeddings", "wte.weight")


@dataclasses.dataclass(frozen=True)
class Value:
    """An input or output; see `signature.Node`."""

    name: str
    type: str
    shape: tuple[int | str, ...]


class Structure:
    """Nodes, inputs, outputs and the shapes of the weights of a graph.

    Args:
        model: the graph; large tensors may lack their content.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self._nodes = [*_all_nodes(model.graph.node)]
        self._nodes += [node for f in model.functions for node in _all_nodes(f.node)]
        self._producers = {output: node for node in self._nodes for output in node.output}

    @cached_property
    def inputs(self) -> list[Value]:
        """Inputs; old exporters list the weights among them, which are left out."""
        return [_value(v) for v in self.model.graph.input if v.name not in self._tensors]

    @cached_property
    def outputs(self) -> list[Value]:
        """Outputs."""
        return [_value(v) for v in self.model.graph.output]

    @cached_property
    def precision(self) -> str:
        """How the graph computes: "fp32", "fp16" or "int8"."""
        if {node.op_type for node in self._nodes} & _EIGHT_BITS:
            return "int8"
        types = [tensor.data_type for tensor in self._tensors.values()]
        half = sum(kind in _HALF for kind in types)
        return "fp16" if half > types.count(TensorProto.FLOAT) else "fp32"

    @cached_property
    def mixes_texts(self) -> str:
        """Why an answer depends on the other texts in the batch, in words; empty if it does not."""
        kinds = {node.op_type for node in self._nodes}
        dynamic = sorted(kinds & _SCALED_BY_THE_BATCH)
        if dynamic:
            return f"its scales are taken from the whole batch ({', '.join(dynamic)})"
        if any(self._computes_in_half(node) for node in self._nodes):
            return "it computes in 16 bits, which round by the shape of the batch"
        return ""

    def _computes_in_half(self, node: onnx.NodeProto) -> bool:
        if node.op_type == "Cast":
            return any(a.name == "to" and a.i in _HALF for a in node.attribute)
        read = (self._tensors.get(name) for name in node.input)
        return any(tensor is not None and tensor.data_type in _HALF for tensor in read)

    def ends_in(self, output: str) -> Ending | None:
        """The activation that makes an output, if there is one."""
        node = self._producer(output)
        if node is None:
            return None
        if node.op_type in ("Div", "Reciprocal"):
            return self._in_pieces(node)
        return _ACTIVATIONS.get(node.op_type)

    def _in_pieces(self, node: onnx.NodeProto) -> Ending | None:
        """Softmax as exp(x) / sum(exp(x)), sigmoid as 1 / (1 + exp(-x))."""
        *divided, by = (self._producer(name) for name in node.input)
        if by is None:
            return None
        if by.op_type == "Add":
            terms = [self._producer(name) for name in by.input]
            constant = all(node is None or node.op_type == "Constant" for node in divided)
            exp = any(node is not None and node.op_type == "Exp" for node in terms)
            return "sigmoid" if constant and exp else None
        exp = any(node is not None and node.op_type == "Exp" for node in divided)
        return "softmax" if exp and by.op_type == "ReduceSum" else None

    def word_rows(self, ids: str) -> int | None:
        """Rows of the table that the token ids choose from; None if it is not found."""
        for node, table in self._lookups():
            if self._source(node.input[1]) == ids:
                return int(table.dims[0])
        own = {name: t for name, t in self._tables() if name == "words"}
        return _rows(own.values()) or self._rows_by_name(_WORD_NAMES)

    def position_rows(self, ids: str) -> int | None:
        """Rows of the table of positions; None if it is not found."""
        named = self._rows_by_name(_POSITION_NAMES)
        if named:
            return named
        found = [(node, table) for node, table in self._lookups() if len(table.dims) == 2]
        words = next((t for n, t in found if self._source(n.input[1]) == ids), None)
        others = [
            table
            for node, table in found
            if words is not None
            and table is not words
            and table.dims[1] == words.dims[1]
            and table.dims[0] > _MOST_TYPES
        ]
        return _rows(others)

    @property
    def packed_positions(self) -> int | None:
        """Rows of this project's own position table, which lacks those that no token takes."""
        return _rows(table for name, table in self._tables() if name == "positions")

    @cached_property
    def counts_tokens(self) -> bool:
        """Whether positions are counted over tokens that are not padding, as RoBERTa does."""
        return any(node.op_type == "CumSum" for node in self._nodes)

    @cached_property
    def external_files(self) -> dict[str, int]:
        """Files beside the graph that hold weights, by name, and the bytes that each must have."""
        files: dict[str, int] = {}
        for tensor in _external_tensors(self.model):
            entries = {entry.key: entry.value for entry in tensor.external_data}
            needed = _number(entries, "offset") + _number(entries, "length")
            name = entries.get("location", "")
            files[name] = max(files.get(name, 0), needed)
        return dict(sorted(files.items()))

    def _tables(self) -> Iterator[tuple[str, TensorProto]]:
        return ((name, t) for name, t in self._tensors.items() if len(t.dims) == 2)

    def _lookups(self) -> Iterator[tuple[onnx.NodeProto, TensorProto]]:
        """Nodes that choose rows of a table, and the table."""
        for node in self._nodes:
            if node.op_type == "Gather":
                table = self._tensors.get(self._source(node.input[0]))
                if table is not None and len(table.dims) == 2:
                    yield node, table

    def _source(self, name: str) -> str:
        """Where a tensor comes from, past nodes that change its form only."""
        while (node := self._producers.get(name)) is not None and node.op_type in _PASSING:
            name = node.input[0]
        return name

    def _producer(self, name: str) -> onnx.NodeProto | None:
        return self._producers.get(self._source(name))

    def _rows_by_name(self, parts: Iterable[str]) -> int | None:
        return _rows(t for name, t in self._tables() if any(part in name for part in parts))


_MOST_TYPES = 16
"""Rows of a table of token types."""


def read_structure(path: Path) -> Structure:
    """Read a graph without the contents of its weights.

    Raises:
        ArtifactError: the file can't be read or is not a graph, or weights beside it are missing.
    """
    structure = Structure(_read_model(path))
    for name, needed in structure.external_files.items():
        file = path.parent / name
        if not file.is_file():
            raise ArtifactError(
                f"{path.name} keeps weights in {name}, which the source does not have beside it"
            )
        if not _is_readable_from(path, file):
            raise ArtifactError(
                f"{path.name} keeps weights in {name}, a link that leads out of {path.parent}, "
                "which ONNX Runtime does not follow; copy the file itself (cp -L)"
            )
        if file.stat().st_size < needed:
            raise ArtifactError(
                f"{name} has {file.stat().st_size} bytes, but {path.name} keeps weights in "
                f"{needed} of it: it is cut short or another file; copy it again"
            )
    return structure


def _is_readable_from(graph: Path, file: Path) -> bool:
    """Whether ONNX Runtime reads a file as weights: it lies beside the graph or a link's target."""
    beside = (graph.parent.resolve(), graph.resolve().parent)
    return any(file.resolve().is_relative_to(folder) for folder in beside)


def external_files(path: Path) -> list[str]:
    """Names of the files in which a graph keeps weights, sorted; none if it is not a graph."""
    try:
        return list(Structure(_read_model(path)).external_files)
    except ArtifactError:
        return []


def refuse_placeholder(path: Path) -> None:
    """Refuse what a download or a clone left in place of a file.

    Raises:
        ArtifactError: it is a Git LFS pointer or a web page.
        OSError: it can't be read.
    """
    with path.open("rb") as file:
        head = file.read(200)
    if head.startswith(_POINTER):
        raise ArtifactError(
            f"{path.name} is a Git LFS pointer, not the file it stands for; take the file's own "
            "address, or run git lfs pull"
        )
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise ArtifactError(
            f"{path.name} is a web page, not the file itself; take the file's own address"
        )


def _read_model(path: Path) -> onnx.ModelProto:
    try:
        refuse_placeholder(path)
        with path.open("rb") as file:
            if not path.stat().st_size:
                raise ArtifactError(f"{path.name} is not an ONNX graph: it is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                model = onnx.ModelProto.FromString(_without(content, 0, len(content), _MODEL))
    except OSError as error:
        raise ArtifactError(f"{path} can't be read: {error.strerror}") from error
    except ArtifactError:
        raise
    except Exception as error:  # protobuf has no common base class for its errors
        raise ArtifactError(
            f"{path.name} is not an ONNX graph, or is cut short: {type(error).__name__}"
        ) from None
    if not model.graph.node:
        raise ArtifactError(f"{path.name} is not an ONNX graph: it holds no nodes")
    return model


def _external_tensors(message: Message) -> Iterator[TensorProto]:
    """Tensors kept in other files, wherever in a model they are."""
    if isinstance(message, TensorProto):
        if message.external_data:
            yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for child in [value] if isinstance(value, Message) else value:
                yield from _external_tensors(child)


def _number(entries: Mapping[str, str], key: str) -> int:
    value = entries.get(key, "")
    return int(value) if value.isdecimal() else 0


def _without(data: mmap.mmap, start: int, end: int, rules: Mapping[int, Any]) -> bytes:
    """A protobuf message without the large fields that the rules name.

    Args:
        data: holds the message.
        start, end: where it is.
        rules: field number to True (leave it out if it is large) or to the rules of what it holds.
    """
    kept = []
    run = at = start
    while at < end:
        tag, value = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        after = _after(data, value, wire)
        if after > end:
            raise ValueError("a field goes on after the end of its message")
        rule = rules.get(number) if wire == 2 and after - value > _LARGE else None
        if rule is not None:
            kept.append(data[run:at])
            run = after
            if rule is not True:
                begin = _varint(data, value)[1]
                content = _without(data, begin, after, rule)
                kept.append(data[at:value] + _to_varint(len(content)) + content)
        at = after
    kept.append(data[run:end])
    return b"".join(kept)


def _after(data: mmap.mmap, at: int, wire: int) -> int:
    """Where the value of a field ends."""
    if wire == 0:
        return _varint(data, at)[1]
    if wire == 2:
        size, begin = _varint(data, at)
        return begin + size
    if wire in (1, 5):
        return at + (8 if wire == 1 else 4)
    raise ValueError(f"wire type {wire} is unknown")


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    """A number of variable length, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7


def _to_varint(value: int) -> bytes:
    parts = []
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def _all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Nodes, and those of the graphs inside of them."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _all_nodes(attribute.g.node)
            for graph in attribute.graphs:
                yield from _all_nodes(graph.node)


def _value(value: onnx.ValueInfoProto) -> Value:
    tensor = value.type.tensor_type
    kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    axes = tensor.shape.dim if tensor.HasField("shape") else ()
    shape = tuple(a.dim_value if a.HasField("dim_value") else a.dim_param or "?" for a in axes)
    return Value(value.name, f"tensor({kind})", shape)


def _rows(tables: Iterable[TensorProto]) -> int | None:
    return next((int(table.dims[0]) for table in tables), None)
