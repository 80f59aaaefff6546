"""Stage `transfer`: all-MiniLM-L6-v2's encoder under a vocabulary of its own.

"Fast Vocabulary Transfer for Language Model Compression", Gee et al., EMNLP 2022 (industry track):
each new token starts as the mean of the embeddings of the old tokens that spell it.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders
from torch import Tensor
from transformers import RobertaConfig, RobertaForSequenceClassification

from lab.training.settings import ID_TO_LABEL, MAX_TOKENS
from lab.training.stages import Figures
from lab.training.tokenizer import END, MASK, PAD, START, UNKNOWN_TOKEN, load_tokenizer

FIRST_POSITION = 2
"""RoBERTa's position rows 0 and 1 belong to padding; the first token takes row 2."""
_SPECIAL_TWINS = {
    START: "[CLS]",
    PAD: "[PAD]",
    END: "[SEP]",
    UNKNOWN_TOKEN: "[UNK]",
    MASK: "[MASK]",
}


def student_config(vocabulary: int, minilm: dict[str, object], dropout: float) -> RobertaConfig:
    """The shape of MiniLM as a RoBERTa configuration."""
    return RobertaConfig(
        vocab_size=vocabulary,
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
        max_position_embeddings=MAX_TOKENS + FIRST_POSITION,
        type_vocab_size=1,
        layer_norm_eps=float(str(minilm["layer_norm_eps"])),
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=0.0,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        num_labels=2,
        id2label=ID_TO_LABEL,
        label2id={label: number for number, label in ID_TO_LABEL.items()},
    )


def _pieces(text: str, inside_word: bool, old: Tokenizer, vocabulary: dict[str, int]) -> list[int]:
    """Ids of MiniLM's tokens for the text of one BPE token."""
    suffix = f"##{text.lower()}"
    if inside_word and suffix in vocabulary:
        return [vocabulary[suffix]]
    ids: list[int] = old.encode(text, add_special_tokens=False).ids
    return ids


def transfer_embeddings(new: Tokenizer, old: Tokenizer, rows: Tensor) -> tuple[Tensor, int]:
    """Word embeddings for the tokens of `new`, and how many of them found no old token.

    Args:
        rows: word embeddings of `old`, float [old vocabulary, hidden].

    Returns:
        float [new vocabulary, hidden]. Tokens of bytes that spell no text (halves of a character)
        get the unknown token's row.
    """
    decoder = decoders.ByteLevel()
    unknown = old.token_to_id("[UNK]")
    old_vocabulary = old.get_vocab()
    result = torch.empty(new.get_vocab_size(), rows.shape[1])
    lost = 0
    for token, number in new.get_vocab().items():
        if token in _SPECIAL_TWINS:
            result[number] = rows[old.token_to_id(_SPECIAL_TWINS[token])]
            continue
        text = decoder.decode([token])
        plain = text.strip()
        word_like = text != plain or plain[:1].isupper() or plain in old_vocabulary
        readable = bool(plain) and "\ufffd" not in plain
        ids = _pieces(plain, not word_like, old, old_vocabulary) if readable else []
        lost += not ids
        result[number] = rows[ids or [unknown]].mean(dim=0)
    return result, lost


def _encoder(old: dict[str, Tensor], config: RobertaConfig, words: Tensor) -> dict[str, Tensor]:
    """MiniLM's tensors under RoBERTa's names and shapes; the head is left out."""
    new = {f"roberta.{name}": rows for name, rows in old.items() if name.startswith("encoder.")}
    for part in ("weight", "bias"):
        name = f"embeddings.LayerNorm.{part}"
        new[f"roberta.{name}"] = old[name]
    positions = torch.zeros(config.max_position_embeddings, config.hidden_size)
    positions[FIRST_POSITION:] = old["embeddings.position_embeddings.weight"]
    new["roberta.embeddings.position_embeddings.weight"] = positions
    new["roberta.embeddings.token_type_embeddings.weight"] = old[
        "embeddings.token_type_embeddings.weight"
    ][:1]
    new["roberta.embeddings.word_embeddings.weight"] = words
    return {name: rows.clone().contiguous() for name, rows in new.items()}


def build_student(folder: Path, tokenizer: Path, minilm: Path, seed: int) -> Figures:
    """Write the student before any training as a Hugging Face model directory."""
    torch.manual_seed(seed)
    new = load_tokenizer(tokenizer)
    old = Tokenizer.from_file(str(minilm / "tokenizer.json"))
    old.no_padding()
    old.no_truncation()
    tensors = load_file(minilm / "model.safetensors")
    words, lost = transfer_embeddings(new, old, tensors["embeddings.word_embeddings.weight"])
    shape = json.loads((minilm / "config.json").read_text(encoding="utf-8"))
    config = student_config(new.get_vocab_size(), shape, dropout=0.0)
    model = RobertaForSequenceClassification(config)
    report = model.load_state_dict(_encoder(tensors, config, words), strict=False)
    wrong = [name for name in report.missing_keys if not name.startswith("classifier.")]
    if wrong or report.unexpected_keys:
        raise SystemExit(f"transfer left out {wrong} and brought {report.unexpected_keys}")
    model.save_pretrained(folder)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"parameters": parameters, "tokens_without_a_twin": lost}


def load_student(folder: Path, dropout: float) -> RobertaForSequenceClassification:
    """A student from a model directory, attention written out (faster here than fused)."""
    model: RobertaForSequenceClassification = RobertaForSequenceClassification.from_pretrained(
        folder,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=0.0,
        classifier_dropout=dropout,
        attn_implementation="eager",
    )
    return model
