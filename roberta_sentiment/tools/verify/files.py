"""Checks that need no run of the model: files, inputs, labels, tokenizer, tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from roberta_sentiment.errors import ChecksumError
from roberta_sentiment.graph.structure import Value
from roberta_sentiment.model import families
from roberta_sentiment.model.layout import CONFIG, MANIFEST, TOKENIZER_FILES
from roberta_sentiment.tools.verify.result import Result, failed, passed, skipped
from roberta_sentiment.tools.verify.subject import Subject


def check_files(subject: Subject) -> Result:
    """What a model needs is there and can be read."""
    try:
        artifact = subject.artifact
    except ChecksumError:
        return passed("all files of the manifest are there")
    return passed(f"{artifact.onnx_path.name}, tokenizer, config.json", sha256=artifact.sha256)


def check_checksums(subject: Subject) -> Result:
    """Every file that decides over an answer has the checksum that the manifest gives."""
    manifest = subject.artifact.manifest
    if not manifest:
        return skipped(f"the directory has no {MANIFEST}")
    guarded = manifest.get("files", {})
    read = [name for name in (CONFIG, *TOKENIZER_FILES) if (subject.path / name).exists()]
    read += [subject.artifact.onnx_path.name, *subject.artifact.structure.external_files]
    free = sorted(set(read) - set(guarded))
    if free:
        return failed(
            f"{MANIFEST} has no checksum of {', '.join(free)}: a change there would not be noticed"
        )
    return passed(f"{len(guarded)} files are those of {MANIFEST}", files=len(guarded))


def check_inputs(subject: Subject) -> Result:
    """Names and types are known, and no axis of batch or length is fixed."""
    structure, signature = subject.artifact.structure, subject.artifact.signature
    output = next(value for value in structure.outputs if value.name == signature.output)
    for kind, value in [("input", i) for i in structure.inputs] + [("output", output)]:
        if value.shape and isinstance(value.shape[0], int) and not signature.one_per_batch:
            return failed(
                f"{kind} {value.name} is {_shown(value)}, which fixes the batch to "
                f"{value.shape[0]}; export it with dynamic axes for batch and length"
            )
    shown = ", ".join(f"{v.name} {_type(v)} {_shown(v)}" for v in structure.inputs)
    mask = "" if signature.mask else "; without a mask"
    mask += "; one text a run" if signature.one_per_batch else ""
    return passed(
        f"{shown} to {output.name} {_type(output)} {_shown(output)}{mask}",
        inputs=[value.name for value in structure.inputs],
        output=output.name,
        mask=signature.mask is not None,
        opset={d.domain or "ai.onnx": d.version for d in structure.model.opset_import},
    )


def check_labels(subject: Subject) -> Result:
    """There are as many labels as scores, and both ways of writing them down agree."""
    labels, width = subject.artifact.labels, subject.width
    if width != len(labels):
        return failed(
            f"the graph gives {width} scores, but config.json names {len(labels)} labels "
            f"({', '.join(labels)})"
        )
    backwards = subject.artifact.config.get("label2id")
    if backwards is not None and backwards != {label: i for i, label in enumerate(labels)}:
        return failed(
            f"config.json contradicts itself: label2id is {json.dumps(backwards)}, but id2label "
            f"says {', '.join(f'{i}: {label}' for i, label in enumerate(labels))}"
        )
    head = subject.artifact.head(subject.settings.head)
    return passed(f"{', '.join(labels)}; {head.description}", labels=list(labels))


def check_tokenizer(subject: Subject) -> Result:
    """Every id is in the vocabulary, and the special tokens are those of the configuration."""
    artifact, tokenizer = subject.artifact, subject.tokenizer
    highest = tokenizer.highest()[1]
    pad = _special(subject.path, "pad_token", "<pad>")
    found = {
        **_frame(tokenizer.framed([]), artifact.config),
        **({} if artifact.pad_token is None else {"pad_token_id": tokenizer.token_id(pad)}),
    }
    expected = {**found, **artifact.config, "pad_token_id": artifact.pad_token}
    for key, value in found.items():
        if value is None:
            return failed(f"the tokenizer does not know {pad} as one token (pad_token)")
        if value != expected[key]:
            return failed(f"the tokenizer's {key} is {value}, but config.json says {expected[key]}")
    unused_rows = artifact.vocab_size - tokenizer.vocab_size
    unused = f", {unused_rows} rows of the model unused" if unused_rows else ""
    return passed(
        f"{tokenizer.vocab_size} tokens, padding {artifact.pad_token}{unused}",
        tokens=tokenizer.vocab_size,
        highest_id=highest,
        pad_id=artifact.pad_token,
    )


def _frame(special: list[int], config: Mapping[str, Any]) -> dict[str, int | None]:
    """Ids of the first and the last special token, by the key that names them in config.json."""
    if len(special) < 2:
        return {}
    start = next((key for key in ("bos_token_id", "cls_token_id") if _is_set(config, key)), "")
    end = next((key for key in ("eos_token_id", "sep_token_id") if _is_set(config, key)), "")
    return {key: token for key, token in ((start, special[0]), (end, special[-1])) if key}


def _is_set(config: Mapping[str, Any], key: str) -> bool:
    return config.get(key) is not None


def check_tables(subject: Subject) -> Result:
    """The embedding tables in the graph have as many rows as config.json says."""
    artifact, structure = subject.artifact, subject.artifact.structure
    ids, own = artifact.signature.ids, structure.packed_positions
    positions = structure.position_rows(ids) if own is None else own + artifact.pad_id + 1
    rows = {"words": structure.word_rows(ids), "positions": positions}
    found = {kind: count for kind, count in rows.items() if count is not None}
    if not found:
        return skipped("no embedding table can be identified among the weights")
    expected = {
        "words": ("vocab_size", artifact.config.get("vocab_size")),
        "positions": ("max_position_embeddings", families.position_rows(artifact.config)),
    }
    for kind, count in found.items():
        key, value = expected[kind]
        if value is not None and count != value:
            return failed(
                f"the graph has {count} rows for {kind}, but config.json says {key} is {value}"
            )
    return passed(", ".join(f"{count} rows for {kind}" for kind, count in found.items()), **found)


def _shown(value: Value) -> str:
    return f"({', '.join(map(str, value.shape))})"


def _type(value: Value) -> str:
    return value.type.removeprefix("tensor(").removesuffix(")")


def _special(path: Path, kind: str, default: str) -> str:
    """A special token as the tokenizer's files name it."""
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (path / name).exists():
            token: Any = json.loads((path / name).read_text(encoding="utf-8")).get(kind)
            if isinstance(token, dict):
                token = token.get("content")
            if isinstance(token, str):
                return token
    return default
