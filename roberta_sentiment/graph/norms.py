"""Fused normalisations taken apart again, where that is faster.

ONNX Runtime's CPU kernel of SkipLayerNormalization is several times as slow as an addition and a
LayerNormalization (measured with 1.32: docs/performance.md).
"""

from __future__ import annotations

import onnx
from onnx import helper

_INPUTS = ("input", "skip", "gamma", "beta", "bias")


def split_skip_norms(model: onnx.ModelProto) -> int:
    """Replace each SkipLayerNormalization by what it stands for, in place.

    Nodes of which the mean or the variance is read stay, and so do those without a shift.

    Args:
        model: any graph; its default opset must be at least 17.

    Returns:
        The number of nodes replaced.
    """
    if not any(o.domain in ("", "ai.onnx") and o.version >= 17 for o in model.opset_import):
        return 0
    nodes: list[onnx.NodeProto] = []
    replaced = 0
    for node in model.graph.node:
        parts = _parts(node) if node.op_type == "SkipLayerNormalization" else None
        replaced += parts is not None
        nodes += parts or [node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return replaced


def _parts(node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
    found = dict(zip(_INPUTS, node.input, strict=False))
    if not found.get("beta") or any(node.output[1:3]):
        return None
    output = node.output[0]
    total = node.output[3] if len(node.output) > 3 and node.output[3] else f"{output}.sum"
    addends = [found["input"], found["skip"]]
    parts = []
    if found.get("bias"):
        parts.append(helper.make_node("Add", [addends[0], found["bias"]], [f"{output}.biased"]))
        addends[0] = f"{output}.biased"
    parts.append(helper.make_node("Add", addends, [total], name=f"{node.name}.add"))
    epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-12)
    parts.append(
        helper.make_node(
            "LayerNormalization",
            [total, found["gamma"], found["beta"]],
            [output],
            name=node.name,
            axis=-1,
            epsilon=epsilon,
        )
    )
    return parts
