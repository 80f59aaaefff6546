"""The published model: RoBERTa fine-tuned on film reviews, in the ONNX Model Zoo.

Numbers are those of the Model Zoo's manifest and of Seldon's notebook, which made it.
"""

from __future__ import annotations

from typing import Any

NAME = "roberta-sequence-classification-9"
FILE = f"{NAME}.onnx"
SIZE = 498_658_080
SHA256 = "8b28f588889de84ef45918765b25bd0e74179b9be5d9320dafdddcb2553784cc"
LICENCE = "Apache-2.0"
TOKENIZER = "FacebookAI/roberta-base"
"""Repository of the tokenizer it was trained with."""

_IN_THE_ZOO = f"validated/text/machine_comprehension/roberta/model/{FILE}"
_GITHUB = "https://media.githubusercontent.com/media/onnx/models/main"
LOCATIONS = (
    (f"hf:onnxmodelzoo/{NAME}", FILE),
    ("hf:onnxmodelzoo/legacy_models", _IN_THE_ZOO),
    (f"{_GITHUB}/{_IN_THE_ZOO}", FILE),
)
"""Sources that may have a copy, the best first, and its path there."""

CONFIG: dict[str, Any] = {
    "architectures": ["RobertaForSequenceClassification"],
    "model_type": "roberta",
    "hidden_act": "gelu",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "layer_norm_eps": 1e-5,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "vocab_size": 50265,
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
    "id2label": {"0": "negative", "1": "positive"},
    "label2id": {"negative": 0, "positive": 1},
}
"""The content of a `config.json`, which was not published with it."""
REFERENCE: dict[str, Any] = {
    "text": "This film is so bad",
    "ids": [0, 713, 822, 16, 98, 1099, 2],
    "logits": [2.3066945, -2.6439788],
}
"""The answer that its makers printed, for `verify`."""
