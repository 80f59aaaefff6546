"""Names of the files in which an ONNX graph keeps its weights, read without loading the graph.

A graph of half a gigabyte is walked by the lengths that protobuf writes before each field, so only
the few bytes between the weights are read.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

_LENGTH_DELIMITED = 2
_FIXED_SIZES = {1: 8, 5: 4}
_MODEL_GRAPH, _GRAPH_NODE, _GRAPH_INITIALIZER = 7, 1, 5
_NODE_ATTRIBUTE, _ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH = 5, 5, 6
_TENSOR_EXTERNAL_DATA, _ENTRY_KEY, _ENTRY_VALUE = 13, 1, 2
_MOST_NESTED = 16
"""Graphs within graphs; ONNX Runtime itself refuses far less."""

_Span = tuple[int, int]


def external_files(path: Path) -> list[str]:
    """Locations of a graph's external data, sorted; empty if the file is no ONNX graph.

    Args:
        path: an .onnx file (field numbers: onnx/onnx.proto).
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            graphs = _children(data, (0, len(data)), _MODEL_GRAPH)
            return sorted({name for graph in graphs for name in _locations(data, graph, 0)})
    except (OSError, ValueError, IndexError):
        return []


def _locations(data: mmap.mmap, graph: _Span, depth: int) -> Iterator[str]:
    if depth > _MOST_NESTED:
        raise ValueError("graphs are nested too deeply")
    for number, span in _fields(data, graph):
        if number == _GRAPH_INITIALIZER:
            yield from _location(data, span)
        elif number == _GRAPH_NODE:
            for attribute in _children(data, span, _NODE_ATTRIBUTE):
                for kind, value in _fields(data, attribute):
                    if kind == _ATTRIBUTE_TENSOR:
                        yield from _location(data, value)
                    elif kind == _ATTRIBUTE_GRAPH:
                        yield from _locations(data, value, depth + 1)


def _location(data: mmap.mmap, tensor: _Span) -> Iterator[str]:
    for entry in _children(data, tensor, _TENSOR_EXTERNAL_DATA):
        texts = {number: data[start:end] for number, (start, end) in _fields(data, entry)}
        if texts.get(_ENTRY_KEY) == b"location":
            yield texts.get(_ENTRY_VALUE, b"").decode("utf-8")


def _children(data: mmap.mmap, parent: _Span, number: int) -> Iterator[_Span]:
    return (span for found, span in _fields(data, parent) if found == number)


def _fields(data: mmap.mmap, message: _Span) -> Iterator[tuple[int, _Span]]:
    """Number and place of each length-delimited field of a message."""
    at, end = message
    while at < end:
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == _LENGTH_DELIMITED:
            size, at = _varint(data, at)
            if at + size > end:
                raise ValueError("a field ends after its message")
            yield tag >> 3, (at, at + size)
            at += size
        elif kind in _FIXED_SIZES:
            at += _FIXED_SIZES[kind]
        elif kind == 0:
            _, at = _varint(data, at)
        else:
            raise ValueError("not a protobuf message")


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("not a protobuf message")
