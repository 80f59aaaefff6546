"""PyTorch models with known weights, and how torch exports them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from roberta_sentiment.graph.weights import from_onnx
from tests import zoo


def classifier(vocabulary: int = 0) -> Any:
    """The classifier of `tests/fixtures/zoo_tiny` in PyTorch.

    Args:
        vocabulary: rows to keep of its word table; 0 keeps all.
    """
    import torch
    from transformers import RobertaConfig, RobertaForSequenceClassification

    tensors = {k: torch.tensor(v) for k, v in from_onnx(zoo.graph(), zoo.CONFIG).tensors.items()}
    words = "roberta.embeddings.word_embeddings.weight"
    if vocabulary:
        tensors[words] = tensors[words][:vocabulary].clone()
    config = RobertaConfig(**{**zoo.CONFIG, "vocab_size": len(tensors[words])})
    model: Any = RobertaForSequenceClassification(config)
    missing = model.load_state_dict(tensors, strict=False).missing_keys
    assert not missing, missing
    return model.eval()


def export(model: Any, path: Path, *, mask: bool) -> None:
    """Export as torch does, with free axes; without `mask` the graph has one input."""
    import torch

    names = ["input_ids", "attention_mask"] if mask else ["input_ids"]
    ids = torch.ones((2, 7), dtype=torch.int64)
    path.parent.mkdir(parents=True, exist_ok=True)
    model.config.return_dict = False
    torch.onnx.export(
        model,
        tuple(ids.clone() for _ in names),
        str(path),
        input_names=names,
        output_names=["logits"],
        dynamic_axes={name: {0: "batch", 1: "sequence"} for name in names}
        | {"logits": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )
    model.config.return_dict = True
