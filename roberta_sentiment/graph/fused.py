"""A RoBERTa classifier as one lean ONNX graph with fused operators.

It computes what the exported graph computes, with less work: one multiplication for query, key and
value, ONNX Runtime's fused attention, and a last layer that is computed for the
token `<s>` alone, because nothing else of it is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from roberta_sentiment.graph.weights import Array, Weights

OPSET = 18
MICROSOFT = "com.microsoft"
"""Domain of ONNX Runtime's own operators."""
IDS, MASK, LOGITS = "input_ids", "attention_mask", "logits"

_HIDDEN = float(np.finfo(np.float32).min)


class Draft:
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

    def finish(self, logits: str, classes: int, also: Sequence[str] = ()) -> onnx.ModelProto:
        """The model; `also` are names of further float outputs."""
        self._nodes.append(helper.make_node("Identity", [logits], [LOGITS]))
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
            for name in (IDS, MASK)
        ]
        outputs = [helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["batch", classes])]
        outputs += [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in also]
        return helper.make_model(
            helper.make_graph(self._nodes, "roberta", inputs, outputs, self._constants),
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)],
            ir_version=8,
            producer_name="roberta_sentiment",
        )


class Precision(Protocol):
    """How tables and linear layers are stored and computed."""

    def embed(self, draft: Draft, table: Array) -> str:
        """Rows of `table`, (vocabulary, hidden), for the ids: (batch, length, hidden)."""
        ...

    def linear(self, draft: Draft, name: str, x: str, weight: Array, bias: Array) -> str:
        """x @ weight + bias; weight is (inputs, outputs)."""
        ...


class Float32(Precision):
    """Everything in float32."""

    def embed(self, draft: Draft, table: Array) -> str:
        return draft.op("Gather", [draft.constant(table, "words"), IDS])

    def linear(self, draft: Draft, name: str, x: str, weight: Array, bias: Array) -> str:
        product = draft.op("MatMul", [x, draft.constant(weight, f"{name}.weight")])
        return draft.op("Add", [product, draft.constant(bias, f"{name}.bias")])


def build(
    weights: Weights, precision: Precision | None = None, also: Sequence[str] | None = None
) -> onnx.ModelProto:
    """Build the graph.

    Args:
        weights: of the classifier.
        precision: of its linear layers and embeddings; float32 by default.
        also: list of further outputs, read when all nodes are there.

    Returns:
        Inputs `input_ids` and `attention_mask`, int64 (batch, sequence), right-padded; output
        `logits`, float32 (batch, classes).
    """
    precision = precision or Float32()
    draft = Draft()
    x = _embeddings(draft, weights, precision)
    mask = draft.op("Cast", [MASK], to=TensorProto.INT32)
    layers = weights.architecture.layers
    for layer in range(layers):
        x = _layer(draft, weights, precision, x, mask, layer, first_only=layer == layers - 1)
    return draft.finish(_head(draft, weights, x), weights.classes, also or ())


def _embeddings(draft: Draft, weights: Weights, precision: Precision) -> str:
    words = precision.embed(draft, weights.words)
    length = draft.op("Shape", [IDS], start=1, end=2)
    zero = draft.constant([0])
    table = draft.constant(weights.positions, "positions")
    positions = draft.op("Slice", [table, zero, length, zero])
    return _normalised(
        draft, weights, "roberta.embeddings.LayerNorm", draft.op("Add", [words, positions])
    )


def _normalised(draft: Draft, weights: Weights, name: str, x: str) -> str:
    """Layer normalisation, not SkipLayerNormalization: that one is 8 times as slow on CPUs."""
    scale, shift = (draft.constant(v) for v in weights.norm(name))
    return draft.op(
        "LayerNormalization", [x, scale, shift], axis=-1, epsilon=weights.architecture.epsilon
    )


def _layer(
    draft: Draft,
    weights: Weights,
    precision: Precision,
    x: str,
    mask: str,
    layer: int,
    *,
    first_only: bool,
) -> str:
    """One encoder layer; with `first_only` its output holds the first token alone."""
    at = f"roberta.encoder.layer.{layer}"
    own = f"{at}.attention.self"

    def linear(name: str, x: str, *parts: str) -> str:
        return precision.linear(draft, name, x, *weights.linear(*parts))

    def normalised(name: str, x: str, skip: str) -> str:
        return _normalised(draft, weights, name, draft.op("Add", [x, skip]))

    if first_only:
        both = linear(f"{own}.key_value", x, f"{own}.key", f"{own}.value")
        key, value = draft.ops("Split", [both], 2, axis=-1, num_outputs=2)
        zero, one = draft.constant([0]), draft.constant([1])
        x = draft.op("Slice", [x, zero, one, one])
        query = linear(f"{own}.query", x, f"{own}.query")
    else:
        parts = [f"{own}.{part}" for part in ("query", "key", "value")]
        all_three = linear(f"{own}.query_key_value", x, *parts)
        query, key, value = draft.ops("Split", [all_three], 3, axis=-1, num_outputs=3)
    context = draft.op(
        "MultiHeadAttention",
        [query, key, value, "", mask],
        domain=MICROSOFT,
        num_heads=weights.architecture.heads,
        mask_filter_value=_HIDDEN,
    )
    output = f"{at}.attention.output"
    attended = normalised(
        f"{output}.LayerNorm", linear(f"{output}.dense", context, f"{output}.dense"), x
    )
    wide = linear(f"{at}.intermediate.dense", attended, f"{at}.intermediate.dense")
    active = draft.op("Gelu", [wide], domain=MICROSOFT)
    narrow = linear(f"{at}.output.dense", active, f"{at}.output.dense")
    return normalised(f"{at}.output.LayerNorm", narrow, attended)


def _head(draft: Draft, weights: Weights, x: str) -> str:
    """The classification head on the first token, (batch, 1, hidden) -> (batch, classes)."""
    first = draft.op("Squeeze", [x, draft.constant([1])])
    dense, bias = (draft.constant(v) for v in weights.linear("classifier.dense"))
    hidden = draft.op("Tanh", [draft.op("Gemm", [first, dense, bias])])
    out, bias = (draft.constant(v) for v in weights.linear("classifier.out_proj"))
    return draft.op("Gemm", [hidden, out, bias])
