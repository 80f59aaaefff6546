"""Checks that need no run of the model: files, inputs, labels, tokenizer, tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper
from onnx.external_data_helper import uses_external_data
from tokenizers import Tokenizer

from roberta_sentiment.errors import ChecksumError
from roberta_sentiment.layout import MANIFEST
from roberta_sentiment.tools.verify.result import Result, failed, passed, skipped
from roberta_sentiment.tools.verify.subject import Subject

_READ = (
    "config.json",
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
"""Files that decide over an answer beside the graph."""
_PASSING = ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze")


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
    read = [name for name in _READ if (subject.path / name).exists()]
    read += [subject.artifact.onnx_path.name, *_external(subject.graph)]
    free = sorted(set(read) - set(guarded))
    if free:
        return failed(
            f"{MANIFEST} has no checksum of {', '.join(free)}: a change there would not be noticed"
        )
    return passed(f"{len(guarded)} files are those of {MANIFEST}", files=len(guarded))


def check_inputs(subject: Subject) -> Result:
    """Names and types are known, and no axis of batch or length is fixed."""
    signature = subject.signature
    shapes = {value.name: _shape(value) for value in subject.inputs()}
    output = subject.output()
    for name, shape in shapes.items():
        fixed = [f"axis {axis} to {size}" for axis, size in enumerate(shape) if _is_fixed(size)]
        if fixed:
            return failed(
                f"input {name} is {_shown(shape)}, which fixes {' and '.join(fixed)}; export it "
                "with dynamic axes for batch and length"
            )
    if _is_fixed(_shape(output)[0]):
        return failed(
            f"output {output.name} is {_shown(_shape(output))}, which fixes the batch to "
            f"{_shape(output)[0]}; export it with dynamic axes for batch and length"
        )
    shown = [f"{name} {_type(v)} {_shown(shapes[name])}" for name, v in _by_name(subject).items()]
    mask = "" if signature.mask else "; without a mask"
    return passed(
        f"{', '.join(shown)} to {output.name} {_type(output)} {_shown(_shape(output))}{mask}",
        inputs=list(shapes),
        output=output.name,
        mask=signature.mask is not None,
        opset={domain.domain or "ai.onnx": domain.version for domain in subject.graph.opset_import},
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
    return passed(", ".join(labels), labels=list(labels))


def check_tokenizer(subject: Subject) -> Result:
    """Every id is in the vocabulary, and the special tokens are those of the configuration."""
    artifact, tokenizer = subject.artifact, subject.tokenizer
    highest = max(_vocabulary(subject.path).values())
    if highest >= artifact.vocab_size:
        return failed(
            f"the tokenizer gives ids up to {highest}, but config.json says vocab_size is "
            f"{artifact.vocab_size}"
        )
    pad = _special(subject.path, "pad_token", "<pad>")
    start, *middle, end = tokenizer.encode([pad], "end")[0].windows[0]
    found = {
        "bos_token_id": start,
        "pad_token_id": middle[0] if len(middle) == 1 else None,
        "eos_token_id": end,
    }
    expected = {**found, **artifact.config, "pad_token_id": artifact.pad_id}
    for key, value in found.items():
        if value is None:
            return failed(f"the tokenizer does not know {pad} as one token (pad_token)")
        if value != expected[key]:
            return failed(f"the tokenizer's {key} is {value}, but config.json says {expected[key]}")
    spare = artifact.vocab_size - tokenizer.vocab_size
    unused = f", {spare} rows of the model unused" if spare else ""
    return passed(
        f"{tokenizer.vocab_size} tokens, padding {artifact.pad_id}{unused}",
        tokens=tokenizer.vocab_size,
        highest_id=highest,
        pad_id=artifact.pad_id,
    )


def check_tables(subject: Subject) -> Result:
    """The embedding tables in the graph have as many rows as config.json says."""
    artifact = subject.artifact
    expected = {
        "words": ("vocab_size", artifact.vocab_size),
        "places": (
            "max_position_embeddings",
            artifact.position_limit + artifact.pad_id + 1,
        ),
    }
    rows = {"words": _word_rows(subject), "places": _position_rows(subject)}
    found = {kind: count for kind, count in rows.items() if count is not None}
    if not found:
        return skipped("no embedding table could be told from the other weights")
    for kind, count in found.items():
        key, value = expected[kind]
        if count != value:
            return failed(
                f"the graph has {count} rows for {kind}, but config.json says {key} is {value}"
            )
    return passed(", ".join(f"{count} rows for {kind}" for kind, count in found.items()), **found)


def _by_name(subject: Subject) -> dict[str, onnx.ValueInfoProto]:
    return {value.name: value for value in subject.inputs()}


def _shape(value: onnx.ValueInfoProto) -> list[str | int]:
    """Axes of an input or output: a size if fixed, else a name."""
    return [
        axis.dim_value if axis.HasField("dim_value") else axis.dim_param or "?"
        for axis in value.type.tensor_type.shape.dim
    ]


def _is_fixed(axis: str | int) -> bool:
    return isinstance(axis, int)


def _shown(shape: list[str | int]) -> str:
    return f"({', '.join(map(str, shape))})"


def _type(value: onnx.ValueInfoProto) -> str:
    return str(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))


def _external(graph: onnx.ModelProto) -> Iterator[str]:
    for tensor in graph.graph.initializer:
        if uses_external_data(tensor):
            yield from (e.value for e in tensor.external_data if e.key == "location")


def _vocabulary(path: Path) -> dict[str, int]:
    if (path / "tokenizer.json").exists():
        vocabulary: dict[str, int] = Tokenizer.from_file(str(path / "tokenizer.json")).get_vocab(
            with_added_tokens=True
        )
        return vocabulary
    return dict(json.loads((path / "vocab.json").read_text(encoding="utf-8")))


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


def _word_rows(subject: Subject) -> int | None:
    """Rows of the table that the token ids choose from, by the graph's wiring."""
    tables = {t.name: t for t in subject.graph.graph.initializer if len(t.dims) == 2}
    producers = {output: node for node in subject.graph.graph.node for output in node.output}
    for node in subject.graph.graph.node:
        if node.op_type != "Gather" or node.input[0] not in tables:
            continue
        name = node.input[1]
        while name in producers and producers[name].op_type in _PASSING:
            name = producers[name].input[0]
        if name == subject.signature.ids:
            return int(tables[node.input[0]].dims[0])
    return _rows_by_name(tables, "word_embeddings")


def _position_rows(subject: Subject) -> int | None:
    """Rows of the position table, by its name; this project's own lacks those never used."""
    tables = {t.name: t for t in subject.graph.graph.initializer if len(t.dims) == 2}
    if "positions" in tables:
        return int(tables["positions"].dims[0]) + subject.artifact.pad_id + 1
    return _rows_by_name(tables, "position_embeddings")


def _rows_by_name(tables: dict[str, TensorProto], part: str) -> int | None:
    return next((int(t.dims[0]) for name, t in tables.items() if part in name), None)
