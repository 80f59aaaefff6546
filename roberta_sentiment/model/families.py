"""Families of models: how many tokens each takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_AFTER_PADDING = {
    "roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "roberta-prelayernorm",
    "data2vec-text", "ibert", "xmod", "longformer", "luke", "esm",
}  # fmt: skip
"""Positions are numbered from pad_token_id + 1."""
_FROM_TWO = {"mpnet"}
"""As above, but always with padding id 1, which the model's code has as a constant."""
_FROM_ZERO = {
    "bert", "distilbert", "electra", "albert", "mobilebert", "squeezebert", "convbert", "ernie",
    "megatron-bert", "rembert", "roformer", "big_bird", "nystromformer", "roc_bert", "fnet",
    "modernbert", "eurobert", "nomic_bert", "gte", "deberta", "xlm", "flaubert", "bart", "opt",
    "biogpt",
}  # fmt: skip
"""A position for each of max_position_embeddings, in a table or computed."""
_RELATIVE = {"deberta-v2"}
"""Relative positions: any length runs, the tokenizer says what the model was trained on."""
_DECODERS = {
    "gpt2", "openai-gpt", "gpt_neo", "gpt_neox", "gptj", "llama", "mistral", "qwen2", "qwen3",
    "gemma", "gemma2", "phi", "phi3", "falcon", "bloom", "mpt",
}  # fmt: skip
"""They number positions from 0, too, and need no special tokens around a text."""
_TWO_MORE_ROWS = {"bart", "opt", "biogpt", "nystromformer"}
_LIMIT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
_PAD_ZERO = {
    "bert", "distilbert", "electra", "albert", "mobilebert", "squeezebert", "convbert", "ernie",
    "megatron-bert", "rembert", "roformer", "big_bird", "deberta", "deberta-v2", "roc_bert",
}  # fmt: skip
_SENSIBLE = range(3, 1_000_001)
"""Limits of a tokenizer that mean something; 1e30 stands for none."""


def model_type(config: Mapping[str, Any]) -> str:
    """`model_type`, else that of the architecture's name, else empty."""
    named = config.get("model_type")
    if isinstance(named, str) and named:
        return named
    names = config.get("architectures")
    first = str(names[0]) if isinstance(names, list) and names else ""
    family = re.sub(r"(For|Model)[A-Z]?\w*$", "", first).lower()
    by_class = {re.sub(r"[-_]", "", name): name for name in _KNOWN}
    return by_class.get(family, "")


def is_known(config: Mapping[str, Any]) -> bool:
    """Whether the family's rule for positions is known."""
    return model_type(config) in _KNOWN


def needs_special_tokens(config: Mapping[str, Any]) -> bool:
    """Whether a text without special tokens around it would mean nothing to the model."""
    return model_type(config) not in _DECODERS


def default_pad_id(config: Mapping[str, Any]) -> int | None:
    """Id of the padding token where config.json does not say it; None where there may be none."""
    kind = model_type(config)
    if kind in _AFTER_PADDING | _FROM_TWO:
        return 1
    return 0 if kind in _PAD_ZERO else None


def position_limit(
    config: Mapping[str, Any],
    *,
    rows: int | None,
    counted: bool,
    pad_id: int | None,
    tokenizer_limit: object,
) -> int | None:
    """Tokens that a model takes, special tokens included.

    Args:
        config: `config.json`.
        rows: of the position table in the graph; None if there is none.
        counted: whether the graph numbers positions over tokens that are not padding, as RoBERTa
            does.
        pad_id: id of the padding token.
        tokenizer_limit: `model_max_length` of `tokenizer_config.json`.

    Returns:
        The limit, None if nothing says it.
    """
    kind = model_type(config)
    configured = next((config[key] for key in _LIMIT_KEYS if _is_count(config.get(key))), None)
    trained = tokenizer_limit if _is_sensible(tokenizer_limit) else None
    if kind in _RELATIVE:
        return _least(trained or configured, rows)
    known = kind in _KNOWN
    unused = _unused_rows(kind, pad_id, counted=counted)
    positions = _least(configured if known else None, rows)
    if positions is None:
        return None
    return _least(positions - unused, trained)


def first_position(config: Mapping[str, Any], pad_id: int | None) -> int | None:
    """Position of a text's first token; None if the family's rule is unknown."""
    kind = model_type(config)
    return _unused_rows(kind, pad_id, counted=False) if kind in _KNOWN else None


def position_rows(config: Mapping[str, Any]) -> int | None:
    """Rows that the table of positions has by the configuration; None if it does not say it."""
    configured = config.get("max_position_embeddings")
    if not isinstance(configured, int):
        return None
    return configured + 2 if model_type(config) in _TWO_MORE_ROWS else configured


def _unused_rows(kind: str, pad_id: int | None, *, counted: bool) -> int:
    """Rows at the beginning of the position table that no token takes."""
    if kind in _FROM_TWO:
        return 2
    after_padding = kind in _AFTER_PADDING or (kind not in _KNOWN and counted)
    return (pad_id if pad_id is not None else 1) + 1 if after_padding else 0


def _least(*limits: Any) -> int | None:
    return min((int(limit) for limit in limits if limit is not None), default=None)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_sensible(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value in _SENSIBLE


_KNOWN = _AFTER_PADDING | _FROM_TWO | _FROM_ZERO | _RELATIVE | _DECODERS
