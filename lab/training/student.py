"""Stage `transfer`: all-MiniLM-L6-v2's encoder under a vocabulary of its own.

"Fast Vocabulary Transfer for Language Model Compression", Gee et al., EMNLP 2022 (industry track):
each new token starts as the mean of the embeddings of the old tokens that spell it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
    return RobertaConfig(  # type: ignore[call-arg]
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


@dataclass(frozen=True)
class Donor:
    """A model that word embeddings are taken from."""

    pieces: Callable[[str], list[int]]
    """Text of a new token -> ids of the donor's tokens that spell it, none where it has none."""
    rows: Tensor
    """float [donor's vocabulary, hidden]."""
    special: Mapping[str, int]
    """New special token -> the id of the donor's."""


def minilm_donor(folder: Path) -> Donor:
    """all-MiniLM-L6-v2; a piece inside a word takes `##piece` where that exists."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    vocabulary = tokenizer.get_vocab()

    def pieces(text: str) -> list[int]:
        suffix = f"##{text}"
        if text not in vocabulary and suffix in vocabulary:
            return [vocabulary[suffix]]
        ids: list[int] = tokenizer.encode(text.strip(), add_special_tokens=False).ids
        return ids

    rows = load_file(folder / "model.safetensors")["embeddings.word_embeddings.weight"]
    special = {new: vocabulary[old] for new, old in _SPECIAL_TWINS.items()}
    return Donor(pieces, rows, special)


def student_donor(folder: Path, tokenizer_folder: Path) -> Donor:
    """An earlier student."""
    tokenizer = load_tokenizer(tokenizer_folder)
    tokenizer.no_truncation()

    def pieces(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    rows = load_file(folder / "model.safetensors")["roberta.embeddings.word_embeddings.weight"]
    vocabulary = tokenizer.get_vocab()
    special = {token: vocabulary[token] for token in _SPECIAL_TWINS}
    return Donor(pieces, rows.float(), special)


def transfer_embeddings(new: Tokenizer, donors: Sequence[Donor]) -> tuple[Tensor, int]:
    """Word embeddings for the tokens of `new`, and how many of them found no old token.

    Each is the mean of the rows that spell it in the donor that needs fewest, the first of equals.

    Returns:
        float [new vocabulary, hidden]. Tokens of bytes that spell no text (halves of a character)
        get the unknown token's row.
    """
    decoder = decoders.ByteLevel()
    first = donors[0]
    result = torch.empty(new.get_vocab_size(), first.rows.shape[1])
    lost = 0
    for token, number in new.get_vocab().items():
        if token in first.special:
            result[number] = first.rows[first.special[token]]
            continue
        text = decoder.decode([token])
        readable = bool(text.strip()) and "\ufffd" not in text
        spelt = [(donor, donor.pieces(text)) for donor in donors] if readable else []
        found = [(donor, ids) for donor, ids in spelt if ids]
        donor, ids = min(found, key=lambda pair: len(pair[1]), default=(first, []))
        lost += not ids
        result[number] = donor.rows[ids or [first.special[UNKNOWN_TOKEN]]].mean(dim=0)
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


def _earlier(old: dict[str, Tensor], words: Tensor) -> dict[str, Tensor]:
    """An earlier student's tensors with other word embeddings."""
    tensors = {name: rows.float() for name, rows in old.items()}
    return tensors | {"roberta.embeddings.word_embeddings.weight": words}


def build_student(
    folder: Path, tokenizer: Path, minilm: Path, earlier: Path | None, seed: int
) -> Figures:
    """Write the student before any training as a Hugging Face model directory.

    Args:
        earlier: checkpoint of an earlier student to start from, tokenizer.json included; None
            starts from MiniLM.
    """
    torch.manual_seed(seed)
    new = load_tokenizer(tokenizer)
    donors = [minilm_donor(minilm)]
    if earlier:
        donors.insert(0, student_donor(earlier, earlier))
    words, lost = transfer_embeddings(new, donors)
    shape = json.loads((minilm / "config.json").read_text(encoding="utf-8"))
    config = student_config(new.get_vocab_size(), shape, dropout=0.0)
    model = RobertaForSequenceClassification(config)
    old = load_file((earlier or minilm) / "model.safetensors")
    tensors = _earlier(old, words) if earlier else _encoder(old, config, words)
    report = model.load_state_dict(tensors, strict=False)
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
