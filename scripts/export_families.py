"""Make tests/fixtures/families: tiny classifiers of ten families with the answers of transformers.

    python -m scripts.export_families

Needs the PyTorch environment (`make test-torch` makes it). Every family gets an archive of model
directories, one for each head, whose `reference.json` holds texts and what transformers says to
them. Weights are multiples of 1/64, so that they pack well.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "families"
_TEXT = """
good bad film movie the a is was and not so very plot actors scene story boring great awful fine
slow funny never always heart long dull bright script music end first half time laugh
"""
WORDS = _TEXT.split()
CORPUS = [" ".join(WORDS[(i * 7 + j * 3) % len(WORDS)] for j in range(12)) for i in range(200)]
ROWS = 160
"""Of every word table."""


@dataclasses.dataclass(frozen=True)
class Head:
    """How the logits of a head become scores, and what says so.

    Attributes:
        labels: names of the outputs.
        problem: problem_type of config.json.
        activation: applied by transformers' pipeline.
        in_graph: whether the exported graph applies it.
    """

    labels: tuple[str, ...]
    problem: str | None
    activation: Callable[[torch.Tensor], torch.Tensor]
    in_graph: bool = False


def _softmax(logits: torch.Tensor) -> torch.Tensor:
    return logits.softmax(-1)


HEADS = {
    "softmax2": Head(("negative", "positive"), None, _softmax),
    "softmax3": Head(("bad", "so-so", "good"), "single_label_classification", _softmax),
    "sigmoid": Head(("anger", "fear", "joy", "love"), "multi_label_classification", torch.sigmoid),
    "regression": Head(("stars",), "regression", lambda logits: logits),
    "probabilities": Head(("negative", "positive"), None, _softmax, in_graph=True),
}


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of models.

    Attributes:
        name: prefix of its classes in transformers.
        tokenizer: makes its tokenizer.
        config: what differs from `_COMMON`.
        limit: tokens that the model takes; one more must fail where positions are in a table.
        model_max_length: as in tokenizer_config.json; 0 leaves it out.
        types: whether the graph has an input token_type_ids.
    """

    name: str
    tokenizer: Callable[[], Tokenizer]
    config: dict[str, Any]
    limit: int
    model_max_length: int = 0
    types: bool = False


def _word_pieces(start: str, end: str, pad: str, unknown: str) -> Tokenizer:
    made = Tokenizer(models.WordPiece(unk_token=unknown))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    special = [pad, unknown, start, end] if start.startswith("[") else [start, pad, end, unknown]
    _train(made, trainers.WordPieceTrainer(vocab_size=120, special_tokens=special), start, end)
    return made


def _unigram(special: list[str], start: str, end: str, *, unknown: str, lower: bool) -> Tokenizer:
    letters = [(letter, -9.0) for letter in "abcdefghijklmnopqrstuvwxyz"]
    words = [(f"\u2581{word}", -3.0 - i / 64) for i, word in enumerate(WORDS)]
    pieces = [*((token, 0.0) for token in special), ("\u2581", -6.0), *words, *letters]
    made = Tokenizer(models.Unigram(pieces, special.index(unknown)))
    steps = [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    made.normalizer = normalizers.Sequence([*steps, normalizers.Lowercase()] if lower else steps)
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    made.add_special_tokens(special)
    _frame(made, start, end)
    return made


def _bytes(special: list[str], start: str, end: str) -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    _train(made, trainers.BpeTrainer(vocab_size=150, special_tokens=special), start, end)
    return made


def _train(made: Tokenizer, trainer: Any, start: str, end: str) -> None:
    made.train_from_iterator(CORPUS, trainer)
    _frame(made, start, end)


def _frame(made: Tokenizer, start: str, end: str) -> None:
    ids = [(token, made.token_to_id(token)) for token in (start, end)]
    made.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", pair=f"{start} $A {end} $B:1 {end}:1", special_tokens=ids
    )


def _bert() -> Tokenizer:
    return _word_pieces("[CLS]", "[SEP]", "[PAD]", "[UNK]")


_BRACKETS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
_ANGLES = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def _sentence_pieces(special: list[str], *, lower: bool = False) -> Callable[[], Tokenizer]:
    brackets = "[CLS]" in special
    start, end, unknown = ("[CLS]", "[SEP]", "[UNK]") if brackets else ("<s>", "</s>", "<unk>")
    return lambda: _unigram(special, start, end, unknown=unknown, lower=lower)


FAMILIES = {
    "albert": Family(
        "Albert", _sentence_pieces(_BRACKETS, lower=True),
        {"embedding_size": 8, "max_position_embeddings": 40, "pad_token_id": 0}, 40, types=True,
    ),
    "bert": Family(
        "Bert", _bert, {"max_position_embeddings": 40, "pad_token_id": 0}, 40, types=True
    ),
    "camembert": Family(
        "Camembert", _sentence_pieces(_ANGLES),
        {"max_position_embeddings": 42, "pad_token_id": 1, "type_vocab_size": 1}, 40, 40,
    ),
    "deberta-v2": Family(
        "DebertaV2", _sentence_pieces(_BRACKETS),
        {
            "max_position_embeddings": 64, "pad_token_id": 0, "type_vocab_size": 0,
            "relative_attention": True, "position_buckets": 8, "norm_rel_ebd": "layer_norm",
            "share_att_key": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False,
        },
        48, 48, types=True,
    ),
    "distilbert": Family(
        "DistilBert", _bert,
        {
            "max_position_embeddings": 40, "pad_token_id": 0, "dim": 16, "hidden_dim": 32,
            "n_layers": 2, "n_heads": 2,
        },
        40,
    ),
    "electra": Family(
        "Electra", _bert,
        {"embedding_size": 8, "max_position_embeddings": 40, "pad_token_id": 0}, 40, types=True,
    ),
    "modernbert": Family(
        "ModernBert", lambda: _bytes(_BRACKETS, "[CLS]", "[SEP]"),
        {
            "max_position_embeddings": 64, "pad_token_id": 0, "cls_token_id": 1,
            "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2, "local_attention": 8,
            "global_attn_every_n_layers": 2, "num_hidden_layers": 3, "reference_compile": False,
        },
        64,
    ),
    "mpnet": Family(
        "MPNet", lambda: _word_pieces("<s>", "</s>", "<pad>", "[UNK]"),
        {"max_position_embeddings": 42, "pad_token_id": 1},
        40,
    ),
    "roberta": Family(
        "Roberta", lambda: _bytes(_ANGLES, "<s>", "</s>"),
        {"max_position_embeddings": 42, "pad_token_id": 1, "type_vocab_size": 1}, 40,
    ),
    "xlm-roberta": Family(
        "XLMRoberta", _sentence_pieces(_ANGLES),
        {"max_position_embeddings": 42, "pad_token_id": 1, "type_vocab_size": 1}, 40,
    ),
}  # fmt: skip

_COMMON = {
    "vocab_size": ROWS,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "attn_implementation": "eager",
}


def main() -> None:
    """Write an archive for each family."""
    torch.set_num_threads(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for kind, family in FAMILIES.items():
        with tempfile.TemporaryDirectory() as scratch:
            for name, head in HEADS.items():
                write(family, head, Path(scratch) / kind / name)
            with tarfile.open(FOLDER / f"{kind}.tar.xz", "w:xz", preset=9) as archive:
                archive.add(Path(scratch) / kind, kind, filter=_plain)
        print(kind, (FOLDER / f"{kind}.tar.xz").stat().st_size)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.isdir() else 0o644
    return member


def write(family: Family, head: Head, directory: Path) -> None:
    """Write a model directory and its reference."""
    directory.mkdir(parents=True)
    tokenizer = _tokenizer(family)
    tokenizer.save_pretrained(directory)
    model = _model(family, head)
    model.config.save_pretrained(directory)
    _export(model, head, directory / "model.onnx", types=family.types)
    reference = [_answer(model, head, tokenizer, family, *t) for t in _texts(tokenizer, family)]
    _must_fail_beyond(model, family)
    (directory / "reference.json").write_text(json.dumps(reference, indent=1), encoding="utf-8")


def _tokenizer(family: Family) -> Any:
    made = family.tokenizer()
    special = {token: made.token_to_id(token) for token in (*_BRACKETS, *_ANGLES)}
    angles = special["<s>"] is not None
    names = {
        "pad_token": "<pad>" if angles else "[PAD]",
        "cls_token": "<s>" if angles else "[CLS]",
        "sep_token": "</s>" if angles else "[SEP]",
        "unk_token": "<unk>" if special["<unk>"] is not None else "[UNK]",
    }
    limit = {"model_max_length": family.model_max_length} if family.model_max_length else {}
    kind: Any = transformers.PreTrainedTokenizerFast
    return kind(tokenizer_object=made, **names, **limit)


def _model(family: Family, head: Head) -> Any:
    settings = {**_COMMON, **family.config}
    config_class = getattr(transformers, f"{family.name}Config")
    config = config_class(
        **settings,
        id2label=dict(enumerate(head.labels)),
        label2id={label: i for i, label in enumerate(head.labels)},
    )
    config.problem_type = head.problem
    torch.manual_seed(3)
    model = getattr(transformers, f"{family.name}ForSequenceClassification")(config).eval()
    draw = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, value in sorted(model.named_parameters()):
            noise = torch.randn(value.shape, generator=draw) * 0.35
            about_one = value.ndim == 1 and name.endswith("weight")
            value.copy_(((noise + about_one) * 64).round() / 64)
    return model


def _texts(tokenizer: Any, family: Family) -> list[tuple[str, str]]:
    def count(words: list[str]) -> int:
        return len(tokenizer(" ".join(words))["input_ids"])

    def exactly(tokens: int) -> str:
        words: list[str] = []
        while (before := count(words)) < tokens:
            at = len(words) * 5 % len(WORDS)
            order = WORDS[at:] + WORDS[:at]
            words.append(next(w for w in order if before < count([*words, w]) <= tokens))
        return " ".join(words)

    return [
        ("3 tokens", exactly(3)),
        ("at the limit", exactly(family.limit)),
        ("one over", exactly(family.limit + 1)),
        ("8,000 words", " ".join(WORDS[i * i % len(WORDS)] for i in range(8_000))),
    ]


def _answer(
    model: Any, head: Head, tokenizer: Any, family: Family, name: str, text: str
) -> dict[str, Any]:
    whole = len(tokenizer(text)["input_ids"])
    taken = tokenizer(text, truncation=True, max_length=family.limit, return_tensors="pt")
    known = inspect.signature(model.forward).parameters
    with torch.inference_mode():
        logits = model(**{k: v for k, v in taken.items() if k in known}).logits
    return {
        "name": name,
        "text": text,
        "tokens": whole,
        "ids": taken["input_ids"][0].tolist(),
        "logits": logits[0].tolist(),
        "scores": head.activation(logits.double())[0].tolist(),
    }


def _must_fail_beyond(model: Any, family: Family) -> None:
    """The limit is the model's own: where positions are in a table, one token more fails."""
    if "relative_attention" in family.config or family.name == "ModernBert":
        return
    ids = torch.full((1, family.limit + 1), 5)
    try:
        model(input_ids=ids)
    except (IndexError, RuntimeError):
        return
    raise AssertionError(f"{family.name} takes more than {family.limit} tokens")


class _Exported(torch.nn.Module):  # type: ignore[misc]  # mypy does not see torch
    """The model with inputs in a fixed order and one output."""

    def __init__(self, model: Any, head: Head, *, types: bool) -> None:
        super().__init__()
        self.model, self.head, self.types = model, head, types

    def forward(self, ids: Any, mask: Any, types: Any = None) -> Any:
        extra = {"token_type_ids": types} if self.types else {}
        logits = self.model(input_ids=ids, attention_mask=mask, **extra).logits
        return self.head.activation(logits) if self.head.in_graph else logits


def _export(model: Any, head: Head, path: Path, *, types: bool) -> None:
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if types else [])]
    ids = torch.tensor([[5, 6, 7, 8, 9, 10, 11], [12, 13, 14, 15, 16, 17, 18]])
    inputs = [ids, torch.ones_like(ids), torch.zeros_like(ids)][: len(names)]
    axes = {name: {0: "batch_size", 1: "sequence_length"} for name in names}
    torch.onnx.export(
        _Exported(model, head, types=types).eval(),
        tuple(inputs),
        str(path),
        input_names=names,
        output_names=["logits"],
        dynamic_axes={**axes, "logits": {0: "batch_size"}},
        opset_version=17,
        dynamo=False,
    )


if __name__ == "__main__":
    shutil.rmtree(FOLDER, ignore_errors=True)
    main()
