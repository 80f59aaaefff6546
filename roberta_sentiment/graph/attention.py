"""The fused attention of a packed graph taken apart, which is faster on CPUs.

ONNX Runtime's MultiHeadAttention copies query, key and value into heads and fills a mask in each
layer. Here the gathering that puts padding back brings them into heads as well, the mask is made
once, and two products and a softmax are left (measured with 1.32: docs/performance.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from roberta_sentiment.graph.signature import PACKED

_HIDDEN = float(np.finfo(np.float32).max)


def split_attention(model: onnx.ModelProto) -> int:
    """Replace each MultiHeadAttention of a graph that `graph.fused` built, in place.

    Returns:
        The number of nodes replaced; 0 for other graphs.
    """
    if not any(entry.key == PACKED for entry in model.metadata_props):
        return 0
    rewriting = _Rewriting(model.graph)
    replaced = sum(rewriting.add(node) for node in model.graph.node)
    if replaced:
        del model.graph.node[:]
        model.graph.node.extend(_read(rewriting.nodes, {o.name for o in model.graph.output}))
    return replaced


class _Rewriting:
    """The nodes of a graph one after another, with others in place of some.

    Names of tensors: `rows` are (tokens * parts, hidden), `index` is (batch, length), the row of
    each position; in heads a tensor is (batch, heads, length, size).
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._graph = graph
        self._producers = {name: node for node in graph.node for name in node.output}
        self._shared: dict[tuple[Any, ...], str] = {}
        self._heads: dict[str, tuple[int, int]] = {}
        """Number and size of the heads of each context."""

    def add(self, node: onnx.NodeProto) -> bool:
        """Add a node or what takes its place; whether it was an attention."""
        if node.op_type == "MultiHeadAttention" and len(node.input) == 5:
            self._add_attention(node)
            return True
        source = node.input[0] if node.input else ""
        before = self._producers.get(source)
        if node.op_type == "Squeeze" and source in self._heads:
            self._op("Reshape", [source, self._constant([0, -1])], node.output[0])
        elif node.op_type == "Gather" and before and before.input[0] in self._heads:
            self._pack(before.input[0], node.input[1], node.output[0])
        else:
            self.nodes.append(node)
        return False

    def _add_attention(self, node: onnx.NodeProto) -> None:
        heads = next(a.i for a in node.attribute if a.name == "num_heads")
        *parts, _, mask = node.input
        query, key, value = (self._in_heads(part, heads) for part in parts)
        size = self._width(parts[1]) // heads
        weights = self._weights(query, key, mask, size)
        self._op("MatMul", [weights, value], node.output[0])
        self._heads[node.output[0]] = heads, size

    def _weights(self, query: str, key: str, mask: str, size: int) -> str:
        """Softmax of the scores, (batch, heads, length, length).

        Where nothing is padded, the pass over all scores that hides padding is left out.
        """
        bias = self._bias(mask)

        def branch(*, padded: bool) -> onnx.GraphProto:
            nodes = [
                helper.make_node(
                    "FusedMatMul", [query, key], ["scores"],
                    domain="com.microsoft", transB=1, alpha=size**-0.5,
                )
            ]  # fmt: skip
            if padded:
                nodes.append(helper.make_node("Add", ["scores", bias], ["masked"]))
            last = nodes[-1].output[0]
            nodes.append(helper.make_node("Softmax", [last], ["weights"], axis=-1))
            output = helper.make_tensor_value_info("weights", TensorProto.FLOAT, None)
            return helper.make_graph(nodes, "weights", [], [output])

        return self._op(
            "If",
            [self._is_padded(mask)],
            then_branch=branch(padded=True),
            else_branch=branch(padded=False),
        )

    def _is_padded(self, mask: str) -> str:
        """Whether a batch has padding, one bool."""
        key = ("padded", mask)
        if key not in self._shared:
            least = self._op("ReduceMin", [mask], keepdims=0)
            self._shared[key] = self._op("Equal", [least, self._constant(np.int32(0))])
        return self._shared[key]

    def _width(self, name: str) -> int:
        """Values of a token in one part, from the Reshape that cuts the parts."""
        shape = self._producers[self._producers[name].input[0]].input[1]
        tensor = next(t for t in self._graph.initializer if t.name == shape)
        return int(numpy_helper.to_array(tensor)[-1])

    def _in_heads(self, name: str, heads: int) -> str:
        """A part of all tokens, or the one token of each text, in heads."""
        made = self._producers[name]
        if made.op_type == "Unsqueeze":
            return self._op("Reshape", [made.input[0], self._constant([0, heads, 1, -1])])
        rows, index = made.input
        size = self._width(name) // heads
        by_head = self._op("Reshape", [self._producers[rows].input[0], self._constant([-1, size])])
        return self._op("Gather", [by_head, self._index_by_head(index, heads)])

    def _index_by_head(self, index: str, heads: int) -> str:
        """The row of each head of each position, (batch, heads, length)."""
        key = ("index", index)
        if key not in self._shared:
            first = self._op("Mul", [index, self._constant([heads])])
            expanded = self._op("Unsqueeze", [first, self._constant([1])])
            each = self._constant(np.arange(heads)[:, None])
            self._shared[key] = self._op("Add", [expanded, each])
        return self._shared[key]

    def _bias(self, mask: str) -> str:
        """What the scores of padding get, (batch, 1, 1, length): 0 or the lowest number."""
        key = ("bias", mask)
        if key not in self._shared:
            kept = self._op("Cast", [mask], to=TensorProto.FLOAT)
            padding = self._op("Sub", [kept, self._constant(np.float32(1))])
            hidden = self._op("Mul", [padding, self._constant(np.float32(_HIDDEN))])
            self._shared[key] = self._op("Unsqueeze", [hidden, self._constant([1, 2])])
        return self._shared[key]

    def _pack(self, context: str, kept: str, output: str) -> None:
        """From heads to (tokens, hidden); `kept` is (tokens,), the position of each token."""
        heads, size = self._heads[context]
        key = ("packed", kept, heads)
        if key not in self._shared:
            length = self._op("Shape", ["input_ids"], start=1, end=2)
            text = self._op("Div", [kept, length])
            skipped = self._op("Mul", [text, self._constant([heads - 1])])
            first = self._op("Add", [kept, self._op("Mul", [skipped, length])])
            each = self._op("Mul", [self._constant(np.arange(heads)), length])
            column = self._op("Unsqueeze", [first, self._constant([1])])
            self._shared[key] = self._op("Add", [column, each])
        flat = self._op("Reshape", [context, self._constant([-1, size])])
        rows = self._op("Gather", [flat, self._shared[key]])
        self._op("Reshape", [rows, self._constant([-1, heads * size])], output)

    def _constant(self, value: Any) -> str:
        array = np.asarray(value)
        key = ("constant", array.dtype.str, array.shape, array.tobytes())
        if key not in self._shared:
            self._shared[key] = f"attention.constant_{len(self._shared)}"
            self._graph.initializer.append(numpy_helper.from_array(array, self._shared[key]))
        return self._shared[key]

    def _op(
        self,
        kind: str,
        inputs: Sequence[str],
        output: str = "",
        *,
        domain: str = "",
        **options: Any,
    ) -> str:
        output = output or f"attention.{kind}_{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(kind, inputs, [output], name=output, domain=domain, **options)
        )
        return output


def _read(nodes: Sequence[onnx.NodeProto], outputs: set[str]) -> list[onnx.NodeProto]:
    """The nodes that the outputs depend on, in order."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node.input, _read_inside(node))
    return kept[::-1]


def _read_inside(node: onnx.NodeProto) -> set[str]:
    """What the branches of a node read."""
    graphs = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    return {name for graph in graphs for inner in graph.node for name in inner.input}
