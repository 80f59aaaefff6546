"""Random weights of base size: a checkpoint, and the graph that Optimum exports from it.

Runs in Optimum's environment. Arguments: directory to write, number of layers, seed.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch
from optimum.exporters.onnx import main_export
from transformers import RobertaConfig, RobertaForSequenceClassification

TOKENIZER = Path(__file__).resolve().parents[3] / "models" / "default"
FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
HEAD_GAIN = 25.0
"""Widens the logits of random weights to those of a trained model, for the accuracy column."""

LABELS = ("negative", "positive")


def main() -> None:
    """Write `checkpoint` and `export` into the directory."""
    target, layers, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.manual_seed(seed)
    config = RobertaConfig(
        vocab_size=50265,
        max_position_embeddings=514,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        num_hidden_layers=layers,
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
    )
    model = RobertaForSequenceClassification(config)
    model.eval()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        model.classifier.out_proj.weight.mul_(HEAD_GAIN)
    model.save_pretrained(target / "checkpoint")
    for name in FILES:
        shutil.copyfile(TOKENIZER / name, target / "checkpoint" / name)
    main_export(str(target / "checkpoint"), str(target / "export"), task="text-classification")
    for name in FILES:
        shutil.copyfile(TOKENIZER / name, target / "export" / name)


if __name__ == "__main__":
    main()
