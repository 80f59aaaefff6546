"""Inputs and output of a classification graph: their names, types and axes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from roberta_sentiment.errors import GraphError

PACKED = "roberta_sentiment.packed"
"""Entry in the metadata of a graph that leaves padding out of everything but the attention."""
PACKED_ATTENTION = "attention"
"""Its value where the attention leaves padding out, too."""

_IDS_NAMES = ("input_ids", "input", "input_word_ids", "ids")
_MASK_NAMES = ("attention_mask", "input_mask", "mask")
_TYPE_NAMES = ("token_type_ids", "segment_ids", "input_type_ids", "type_ids")
_POSITION_NAMES = ("position_ids",)
_OUTPUT_NAMES = ("logits", "output", "probabilities", "scores")
_INTEGERS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_MASKS = {
    **_INTEGERS,
    "tensor(bool)": np.bool_,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
}
_FLOATS = ("tensor(float)", "tensor(float16)", "tensor(double)")
_EXPORT = "export it with dynamic axes for batch and length, as optimum-cli does"


class Node(Protocol):
    """An input or an output, as ONNX Runtime describes it.

    Attributes:
        name: of the tensor.
        type: such as "tensor(int64)".
        shape: a number for each fixed axis, anything else for a free one.
    """

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def shape(self) -> Sequence[Any]: ...


@dataclasses.dataclass(frozen=True)
class Signature:
    """Names and types that the graph gives its inputs and its output.

    Attributes:
        ids, mask, types, positions, output: names of tensors.
        dtypes: of the inputs, by name.
        classes: width of the output; None if the graph does not say.
        one_per_batch: whether the graph takes one text a run only.
    """

    ids: str
    mask: str | None
    types: str | None
    output: str
    dtypes: Mapping[str, Any]
    classes: int | None
    one_per_batch: bool = False
    positions: str | None = None


def read_signature(inputs: Sequence[Node], outputs: Sequence[Node]) -> Signature:
    """Find ids, mask, token types, positions and the scores.

    Raises:
        GraphError: an input is unknown, of a wrong type or of a fixed length, or it is not clear
            which output holds the scores.
    """
    ids = _pick(inputs, _IDS_NAMES) or (inputs[0] if len(inputs) == 1 else None)
    if ids is None:
        raise GraphError(f"no input of the graph is named input_ids; it has {_names(inputs)}")
    mask, types, positions = (
        _pick(inputs, names) for names in (_MASK_NAMES, _TYPE_NAMES, _POSITION_NAMES)
    )
    unknown = [node for node in inputs if node not in (ids, mask, types, positions)]
    if unknown:
        raise GraphError(
            f"the graph asks for inputs unknown here: {_names(unknown)}; export it with input_ids, "
            "attention_mask and, where the model has it, token_type_ids"
        )
    for node in inputs:
        _check_input(node, _MASKS if node is mask else _INTEGERS)
    output = _pick_output(outputs)
    width = output.shape[1] if len(output.shape) == 2 else 1
    return Signature(
        ids=ids.name,
        mask=mask.name if mask else None,
        types=types.name if types else None,
        output=output.name,
        dtypes={node.name: _MASKS[node.type] for node in inputs},
        classes=width if isinstance(width, int) else None,
        one_per_batch=any(node.shape[0] == 1 for node in inputs),
        positions=positions.name if positions else None,
    )


def _check_input(node: Node, allowed: Mapping[str, Any]) -> None:
    shape = f"({', '.join(map(str, node.shape))})"
    if node.type not in allowed or len(node.shape) != 2:
        raise GraphError(
            f"input {node.name} is {node.type} {shape}; int64 (batch, length) is needed"
        )
    batch, length = node.shape
    if isinstance(length, int) or (isinstance(batch, int) and batch != 1):
        fixed = [
            f"axis {i} to {size}" for i, size in enumerate(node.shape) if isinstance(size, int)
        ]
        raise GraphError(
            f"input {node.name} is {shape}, which fixes {' and '.join(fixed)}; {_EXPORT}"
        )


def _pick_output(outputs: Sequence[Node]) -> Node:
    """The output of a known name, else the only one that can hold scores."""
    fit = [node for node in outputs if node.type in _FLOATS and len(node.shape) in (1, 2)]
    found = _pick(fit, _OUTPUT_NAMES) or (fit[0] if len(fit) == 1 else None)
    if found is None:
        shown = "; ".join(
            f"{o.name} {o.type} ({', '.join(map(str, o.shape))})" for o in outputs[:4]
        )
        raise GraphError(
            f"one output of float logits (batch, classes), named logits, is needed; the graph has "
            f"{shown[:140]}; export it for text-classification"
        )
    return found


def _pick(nodes: Sequence[Node], names: Sequence[str]) -> Node | None:
    by_name = {_plain(node.name): node for node in reversed(nodes)}
    return next((by_name[name] for name in names if name in by_name), None)


def _plain(name: str) -> str:
    """A name without what TensorFlow puts around it: `serving_default_input_ids:0`."""
    return re.sub(r":\d+$", "", name).rpartition("/")[2].removeprefix("serving_default_").lower()


def _names(nodes: Sequence[Node]) -> str:
    return ", ".join(sorted(node.name for node in nodes))[:120]
