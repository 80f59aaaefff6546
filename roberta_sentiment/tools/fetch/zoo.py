"""The published model: RoBERTa fine-tuned on film reviews, in the ONNX Model Zoo.

Numbers are those of the Model Zoo's manifest and of Seldon's notebook, which made it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

NAME = "roberta-sequence-classification-9"


@dataclasses.dataclass(frozen=True)
class Location:
    """Where a copy of the graph is kept: a file of a hub's repository, or a plain address."""

    repository: str = ""
    path: str = ""
    url: str = ""


@dataclasses.dataclass(frozen=True)
class Published:
    """What is known of a published graph.

    Attributes:
        file: its name.
        size: bytes.
        sha256: of the graph.
        licence: SPDX identifier.
        locations: where it may be found, the best first.
        tokenizer: hub repository of the tokenizer it was trained with.
        config: the content of a `config.json`, which was not published with it.
        text, ids, logits: a text, its tokens and the answer that its makers printed.
    """

    file: str
    size: int
    sha256: str
    licence: str
    locations: tuple[Location, ...]
    tokenizer: str
    config: dict[str, Any]
    text: str
    ids: tuple[int, ...]
    logits: tuple[float, ...]


_IN_THE_ZOO = f"validated/text/machine_comprehension/roberta/model/{NAME}.onnx"

MODEL = Published(
    file=f"{NAME}.onnx",
    size=498_658_080,
    sha256="8b28f588889de84ef45918765b25bd0e74179b9be5d9320dafdddcb2553784cc",
    licence="Apache-2.0",
    locations=(
        Location(repository=f"onnxmodelzoo/{NAME}", path=f"{NAME}.onnx"),
        Location(repository="onnxmodelzoo/legacy_models", path=_IN_THE_ZOO),
        Location(url=f"https://media.githubusercontent.com/media/onnx/models/main/{_IN_THE_ZOO}"),
    ),
    tokenizer="FacebookAI/roberta-base",
    config={
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
    },
    text="This film is so bad",
    ids=(0, 713, 822, 16, 98, 1099, 2),
    logits=(2.3066945, -2.6439788),
)


def reference() -> dict[str, Any]:
    """The published answer, for `verify`."""
    return {"text": MODEL.text, "ids": list(MODEL.ids), "logits": list(MODEL.logits)}
