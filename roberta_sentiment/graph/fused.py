"""A RoBERTa classifier as a small ONNX graph with fused operators.

It computes what the exported graph computes with less work: padding in the attention only,
one multiplication for query, key and value, ONNX Runtime's fused attention, and a last layer that
is computed for the token `<s>` only, because the head reads nothing else. A form for GPUs leaves
padding out of the attention, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from roberta_sentiment.graph.signature import PACKED, PACKED_ATTENTION
from roberta_sentiment.graph.weights import PRODUCER, Array, Weights

OPSET = 18
MICROSOFT = "com.microsoft"
"""Domain of ONNX Runtime's own operators."""
IDS, MASK, LOGITS = "input_ids", "attention_mask", "logits"

_HIDDEN = float(np.finfo(np.float32).min)
_ON_PACKED = "PackedMultiHeadAttention"
"""Operator that ONNX Runtime has for CUDA only."""


class GraphBuilder:
    """A graph under construction."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[TensorProto] = []

    def constant(self, value: npt.ArrayLike | npt.NDArray[Any], name: str = "") -> str:
        """Add a constant; its name."""
        name = name or f"constant_{len(self._constants)}"
        array = np.asarray(value)
        tensor = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
        self._constants.append(tensor)
        return name

    def op(self, kind: str, inputs: Sequence[str], *, domain: str = "", **options: Any) -> str:
        """Add a node with one output; the output's name."""
        return self.ops(kind, inputs, 1, domain=domain, **options)[0]

    def ops(
        self, kind: str, inputs: Sequence[str], outputs: int, *, domain: str = "", **options: Any
    ) -> list[str]:
        """Add a node; its outputs' names."""
        at = len(self._nodes)
        names = [f"{kind}_{at}_{i}" if outputs > 1 else f"{kind}_{at}" for i in range(outputs)]
        self._nodes.append(
            helper.make_node(kind, inputs, names, name=f"{kind}_{at}", domain=domain, **options)
        )
        return names

    def finish(
        self, logits: str, classes: int, extra_outputs: Sequence[str] = ()
    ) -> onnx.ModelProto:
        """The model; `extra_outputs` are names of further float outputs."""
        self._nodes.append(helper.make_node("Identity", [logits], [LOGITS]))
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
            for name in (IDS, MASK)
        ]
        outputs = [helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["batch", classes])]
        outputs += [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in extra_outputs
        ]
        model = helper.make_model(
            helper.make_graph(self._nodes, "roberta", inputs, outputs, self._constants),
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)],
            ir_version=8,
            producer_name=PRODUCER,
        )
        has_packed_attention = any(node.op_type == _ON_PACKED for node in self._nodes)
        helper.set_model_props(model, {PACKED: PACKED_ATTENTION if has_packed_attention else "1"})
        return model


class Linear(Protocol):
    """Adds a linear layer: its name, its input, and the layers of the model that it joins."""

    def __call__(self, name: str, x: str, *parts: str) -> str: ...


class Precision(Protocol):
    """How tables and linear layers are stored and computed."""

    def embed(self, builder: GraphBuilder, table: Array, ids: str) -> str:
        """Rows of `table`, (vocabulary, hidden), for ids (tokens,): (tokens, hidden)."""
        ...

    def linear(self, builder: GraphBuilder, name: str, x: str, weight: Array, bias: Array) -> str:
        """x @ weight + bias; weight is (inputs, outputs)."""
        ...


class Float32(Precision):
    """Everything in float32."""

    def embed(self, builder: GraphBuilder, table: Array, ids: str) -> str:
        return builder.op("Gather", [builder.constant(table, "words"), ids])

    def linear(self, builder: GraphBuilder, name: str, x: str, weight: Array, bias: Array) -> str:
        product = builder.op("MatMul", [x, builder.constant(weight, f"{name}.weight")])
        return builder.op("Add", [product, builder.constant(bias, f"{name}.bias")])


def build(
    weights: Weights,
    precision: Precision | None = None,
    extra_outputs: Sequence[str] | None = None,
    *,
    for_cuda: bool = False,
) -> onnx.ModelProto:
    """Build the graph.

    Args:
        weights: of the classifier.
        precision: of its linear layers and embeddings; float32 by default.
        extra_outputs: names of further outputs, read when all nodes have been added.
        for_cuda: whether the attention works on packed tokens, which only CUDA has a kernel for.

    Returns:
        Inputs `input_ids` and `attention_mask`, int64 (batch, sequence), right-padded; output
        `logits`, float32 (batch, classes).
    """
    precision = precision or Float32()
    builder = GraphBuilder()
    packing = CudaPacking(builder) if for_cuda else Packing(builder)
    x = _embeddings(builder, weights, precision, packing)
    layers = weights.architecture.layers
    for layer in range(layers):
        x = _layer(builder, weights, precision, packing, x, layer, first_only=layer == layers - 1)
    return builder.finish(_head(builder, weights, x), weights.classes, extra_outputs or ())


class Packing:
    """Removes padding from a padded batch, and puts it back.

    A padded batch is (batch, length), a packed one (tokens,): all rows one after another without
    padding. Everything but the attention works on packed tokens.

    Attributes:
        kept: (tokens,) int64, each token's index in the flattened padded batch.
        padded: (batch, length) int64, the token at each position; padding takes that to its left.
        first: (batch,) int64, the tokens `<s>`.
        length: (1,) int64.
        mask: (batch, length) int32, 0 for padding.
    """

    def __init__(self, builder: GraphBuilder) -> None:
        self._builder = builder
        self._flat = builder.constant([-1])
        one = builder.constant([1])
        flat = builder.op("Reshape", [MASK, self._flat])
        self.kept = builder.op("Reshape", [builder.op("NonZero", [flat]), self._flat])
        counted = builder.op("CumSum", [flat, builder.constant(0)])
        tokens = builder.op("Sub", [counted, one])
        self.padded = builder.op("Reshape", [tokens, builder.op("Shape", [MASK])])
        self.first = builder.op("Gather", [self.padded, builder.constant(0)], axis=1)
        self.length = builder.op("Shape", [IDS], start=1, end=2)
        self.mask = builder.op("Cast", [MASK], to=TensorProto.INT32)
        self._parts: dict[tuple[int, int], str] = {}

    def ids(self) -> str:
        """Token ids, (tokens,)."""
        return self._builder.op(
            "Gather", [self._builder.op("Reshape", [IDS, self._flat]), self.kept]
        )

    def positions(self) -> str:
        """Position of each token in its row, (tokens,)."""
        return self._builder.op("Mod", [self.kept, self.length])

    def unpack(self, x: str, width: int, parts: int) -> list[str]:
        """Equal parts of packed rows, (tokens, parts * width), as (batch, length, width) each."""
        rows = self._builder.op("Reshape", [x, self._builder.constant([-1, width])])
        return [
            self._builder.op("Gather", [rows, self._rows_of(part, parts)]) for part in range(parts)
        ]

    def pack(self, x: str, width: int) -> str:
        """(batch, length, width) without padding: (tokens, width)."""
        rows = self._builder.op("Reshape", [x, self._builder.constant([-1, width])])
        return self._builder.op("Gather", [rows, self.kept])

    def _rows_of(self, part: int, parts: int) -> str:
        if (part, parts) not in self._parts:
            scaled = self._builder.op("Mul", [self.padded, self._builder.constant([parts])])
            self._parts[part, parts] = self._builder.op(
                "Add", [scaled, self._builder.constant([part])]
            )
        return self._parts[part, parts]


class CudaPacking(Packing):
    """What the attention on packed tokens reads instead of a mask.

    Attributes:
        offsets: (batch, length) int32, each token's index in the flattened padded batch, then the
            indices of padding.
        ends: (batch + 1,) int32, tokens before each row, and in all.
    """

    def __init__(self, builder: GraphBuilder) -> None:
        super().__init__(builder)
        flat = builder.op("Reshape", [MASK, self._flat])
        padding = builder.op("NonZero", [builder.op("Sub", [builder.constant(1), flat])])
        indices = [self.kept, builder.op("Reshape", [padding, self._flat])]
        shape = builder.op("Shape", [MASK])
        offsets = builder.op("Reshape", [builder.op("Concat", indices, axis=0), shape])
        self.offsets = builder.op("Cast", [offsets], to=TensorProto.INT32)
        lengths = builder.op("ReduceSum", [MASK, builder.constant([1])], keepdims=0)
        counted = builder.op("CumSum", [lengths, builder.constant(0)])
        ends = builder.op("Concat", [builder.constant([0]), counted], axis=0)
        self.ends = builder.op("Cast", [ends], to=TensorProto.INT32)


def _embeddings(
    builder: GraphBuilder, weights: Weights, precision: Precision, packing: Packing
) -> str:
    words = precision.embed(builder, weights.words, packing.ids())
    table = builder.constant(weights.positions, "positions")
    positions = builder.op("Gather", [table, packing.positions()])
    return _normalised(
        builder, weights, "roberta.embeddings.LayerNorm", builder.op("Add", [words, positions])
    )


def _normalised(builder: GraphBuilder, weights: Weights, name: str, x: str) -> str:
    """Layer normalisation, not SkipLayerNormalization: that one is 8 times as slow on CPUs."""
    scale, shift = _named(builder, name, weights.norm(name))
    return builder.op(
        "LayerNormalization", [x, scale, shift], axis=-1, epsilon=weights.architecture.epsilon
    )


def _layer(
    builder: GraphBuilder,
    weights: Weights,
    precision: Precision,
    packing: Packing,
    x: str,
    layer: int,
    *,
    first_only: bool,
) -> str:
    """One encoder layer on packed tokens; with `first_only` its output holds the first of each."""
    at = f"roberta.encoder.layer.{layer}"
    own = f"{at}.attention.self"

    def linear(name: str, x: str, *parts: str) -> str:
        return precision.linear(builder, name, x, *weights.linear(*parts))

    def normalised(name: str, x: str, skip: str) -> str:
        return _normalised(builder, weights, name, builder.op("Add", [x, skip]))

    if isinstance(packing, CudaPacking):
        context, x = _packed_attention(builder, weights, packing, linear, own, x, first_only)
    else:
        context, x = _attention(builder, weights, packing, linear, own, x, first_only)
    output = f"{at}.attention.output"
    attended = normalised(
        f"{output}.LayerNorm", linear(f"{output}.dense", context, f"{output}.dense"), x
    )
    wide = linear(f"{at}.intermediate.dense", attended, f"{at}.intermediate.dense")
    active = builder.op("Gelu", [wide], domain=MICROSOFT)
    narrow = linear(f"{at}.output.dense", active, f"{at}.output.dense")
    return normalised(f"{at}.output.LayerNorm", narrow, attended)


def _attention(
    builder: GraphBuilder,
    weights: Weights,
    packing: Packing,
    linear: Linear,
    own: str,
    x: str,
    first_only: bool,
) -> tuple[str, str]:
    """Context of each token, or of the first of each row, and `x` for the same tokens."""
    hidden = weights.words.shape[1]
    if first_only:
        both = linear(f"{own}.key_value", x, f"{own}.key", f"{own}.value")
        key, value = packing.unpack(both, hidden, 2)
        x = builder.op("Gather", [x, packing.first])
        query = linear(f"{own}.query", x, f"{own}.query")
        query = builder.op("Unsqueeze", [query, builder.constant([1])])
    else:
        all_three = _query_key_value(linear, own, x)
        query, key, value = packing.unpack(all_three, hidden, 3)
    context = builder.op(
        "MultiHeadAttention",
        [query, key, value, "", packing.mask],
        domain=MICROSOFT,
        num_heads=weights.architecture.heads,
        mask_filter_value=_HIDDEN,
    )
    if first_only:
        return builder.op("Squeeze", [context, builder.constant([1])]), x
    return packing.pack(context, hidden), x


def _packed_attention(
    builder: GraphBuilder,
    weights: Weights,
    packing: CudaPacking,
    linear: Linear,
    own: str,
    x: str,
    first_only: bool,
) -> tuple[str, str]:
    """As `_attention`, by the operator that takes rows of any length one after another."""
    parts = builder.ops("Split", [_query_key_value(linear, own, x)], 3, axis=1, num_outputs=3)
    context = builder.op(
        _ON_PACKED,
        [*parts, "", packing.offsets, packing.ends],
        domain=MICROSOFT,
        num_heads=weights.architecture.heads,
    )
    if first_only:
        return builder.op("Gather", [context, packing.first]), builder.op(
            "Gather", [x, packing.first]
        )
    return context, x


def _query_key_value(linear: Linear, own: str, x: str) -> str:
    """Query, key and value of each token by one product: (tokens, 3 * hidden)."""
    parts = [f"{own}.{part}" for part in ("query", "key", "value")]
    return linear(f"{own}.query_key_value", x, *parts)


def _head(builder: GraphBuilder, weights: Weights, x: str) -> str:
    """The classification head on the first tokens, (batch, hidden) -> (batch, classes)."""
    dense = _named(builder, "classifier.dense", weights.linear("classifier.dense"))
    hidden = builder.op("Tanh", [builder.op("Gemm", [x, *dense])])
    out = _named(builder, "classifier.out_proj", weights.linear("classifier.out_proj"))
    return builder.op("Gemm", [hidden, *out])


def _named(builder: GraphBuilder, name: str, values: tuple[Array, Array]) -> tuple[str, str]:
    """Constants under the names by which `weights.from_onnx` finds them again."""
    weight, bias = values
    return builder.constant(weight, f"{name}.weight"), builder.constant(bias, f"{name}.bias")
