"""A model directory whose answers can be worked out by hand.

Each token of the vocabulary adds its own two numbers to the logits, so the logits of a text are a
sum over its tokens: "good" adds 1 to the positive logit, "bad" 1 to the negative one, every other
token nothing. Without a mask, padding adds 5 to the negative logit, so that a forgotten padding
shows.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
WORDS = ["good", "bad", "film", "the", "is", "a", "so", "not", "this", "it"]
LABELS = ("negative", "positive")


def vocabulary() -> dict[str, int]:
    """Special tokens, all bytes, then whole words with and without a space before them."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [prefix + word for word in WORDS for prefix in ("", "Ġ")]
    return {token: i for i, token in enumerate(dict.fromkeys([*SPECIAL, *alphabet, *words]))}


def tokenizer() -> Tokenizer:
    """A byte-level BPE that knows `WORDS` and falls back to bytes."""
    vocab = vocabulary()
    made = Tokenizer(models.BPE(vocab=vocab, merges=[], ignore_merges=True))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.add_special_tokens(SPECIAL)
    made.post_processor = processors.RobertaProcessing(
        ("</s>", vocab["</s>"]), ("<s>", vocab["<s>"]), add_prefix_space=False
    )
    return made


def graph(*, mask: bool = True, integer: int = TensorProto.INT64) -> onnx.ModelProto:
    """The graph described above.

    Args:
        mask: whether it has an input attention_mask.
        integer: element type of the inputs.
    """
    vocab = vocabulary()
    table = np.zeros((len(vocab), 2), dtype=np.float32)
    for word, column in (("bad", 0), ("good", 1)):
        table[[vocab[word], vocab["Ġ" + word]], column] = 1
    table[vocab["<pad>"], 0] = 5
    inputs = [helper.make_tensor_value_info("input_ids", integer, ["batch", "length"])]
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["scores"])]
    summed = "scores"
    if mask:
        inputs.append(helper.make_tensor_value_info("attention_mask", integer, ["batch", "length"]))
        nodes += [
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
            helper.make_node("Mul", ["scores", "column"], ["seen"]),
        ]
        summed = "seen"
    nodes.append(helper.make_node("ReduceSum", [summed, "middle"], ["logits"], keepdims=0))
    return helper.make_model(
        helper.make_graph(
            nodes,
            "toy",
            inputs,
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
            [
                numpy_helper.from_array(table, "table"),
                numpy_helper.from_array(np.array([2]), "last"),
                numpy_helper.from_array(np.array([1]), "middle"),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )


def write(directory: Path, *, positions: int = 34, **options: object) -> Path:
    """Write a model directory without a manifest.

    Args:
        directory: is made.
        positions: rows of the position table: two more than the tokens it takes.
        options: of `graph`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    onnx.save(graph(**options), directory / "model.onnx")  # type: ignore[arg-type]
    tokenizer().save(str(directory / "tokenizer.json"))
    config = {
        "model_type": "roberta",
        "id2label": dict(enumerate(LABELS)),
        "max_position_embeddings": positions,
        "pad_token_id": 1,
        "vocab_size": len(vocabulary()),
    }
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return directory
