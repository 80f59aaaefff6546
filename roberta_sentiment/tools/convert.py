"""`convert`: a PyTorch checkpoint to ONNX, compared with PyTorch; needs torch."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import onnx
import onnxruntime
import typer

from roberta_sentiment.errors import (
    ArtifactError,
    AxesDifferError,
    NamesDifferError,
    ShapesDifferError,
    ValuesDifferError,
)
from roberta_sentiment.graph.fused import IDS, LOGITS, MASK, build
from roberta_sentiment.graph.half import to_half
from roberta_sentiment.graph.weights import from_state_dict
from roberta_sentiment.model.layout import TOKENIZER_FILES, has_tokenizer, is_plain_name
from roberta_sentiment.tools.manifest import write_manifest
from roberta_sentiment.tools.options import NameOption, ReplaceOption
from roberta_sentiment.tools.target import check_target, new_directory, next_command

if TYPE_CHECKING:
    import torch

MADE_BY = "conversion"
"""Entry of the manifest by which an earlier output is known."""
Precision = Literal["fp32", "fp16"]
TOLERANCES: Mapping[Precision, float] = {"fp32": 1e-4, "fp16": 5e-3}
"""Largest difference of a logit that is accepted, by precision."""

_STATE = ("model.safetensors", "pytorch_model.bin")
_INDICES = tuple(f"{name}.index.json" for name in _STATE)
"""Name the pieces of a checkpoint that lies in several files."""
_HEAD_WIDTH = 64
"""Values of one attention head in every published RoBERTa."""
_OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
_BATCHES = ((1, 2), (1, 7), (3, 12), (2, 64))


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What was compared.

    Attributes:
        batches: batches run through both.
        tolerance: of a logit.
        largest_difference: of a logit, PyTorch and ONNX Runtime.
    """

    batches: int
    tolerance: float
    largest_difference: float


def command(
    source: Annotated[
        Path,
        typer.Argument(
            help="Hugging Face directory with model.safetensors or pytorch_model.bin, or a .bin."
        ),
    ],
    target: Annotated[Path, typer.Argument(help="Model directory to write.")],
    tokenizer: Annotated[
        Path | None, typer.Option(help="Directory of the tokenizer; by default the source.")
    ] = None,
    precision: Annotated[
        Precision, typer.Option(help="fp16 is for GPUs: half the bytes; on a CPU it is slower.")
    ] = "fp32",
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Largest difference of a logit that is accepted; by default 0.0001, in fp16 "
            "0.005.",
            min=0,
        ),
    ] = None,
    name: NameOption = "",
    licence: Annotated[str, typer.Option(help="SPDX identifier.")] = "unknown",
    origin: Annotated[str, typer.Option(help="Where the weights came from.")] = "",
    replace: ReplaceOption = False,
) -> None:
    """Convert a PyTorch checkpoint to a model directory."""
    done = convert(
        source,
        target,
        tokenizer=tokenizer,
        precision=precision,
        tolerance=tolerance,
        name=name,
        licence=licence,
        origin=origin,
        replace=replace,
    )
    typer.echo(
        f"{target}: {done.batches} batches agree with PyTorch, largest difference "
        f"{done.largest_difference:.1e} (limit {done.tolerance:.0e})\n"
        f"next: {next_command('verify', target)}"
    )


def convert(
    source: Path,
    target: Path,
    *,
    tokenizer: Path | None = None,
    precision: Precision = "fp32",
    tolerance: float | None = None,
    name: str = "",
    licence: str = "unknown",
    origin: str = "",
    replace: bool = False,
) -> Conversion:
    """Convert a checkpoint of `RobertaForSequenceClassification`.

    Args:
        source: a Hugging Face directory, or a file with a bare state dict; without config.json
            its numbers are read from the shapes of the tensors.
        target: model directory to write; an earlier output of `convert` is replaced.
        tokenizer: directory of the tokenizer's files.
        precision: of the graph.
        tolerance: of a logit; by default that of the precision.
        name, licence, origin: for the manifest.
        replace: whether any other existing target is replaced.

    Raises:
        ArtifactError: a file is missing, torch is not installed, or the target exists or holds what
            is read.
        GraphError: it is not a checkpoint of that class.
        ConversionError: the graph is not the same model; one subclass each for names, axes, shapes
            and values. Nothing is written then.
    """
    sources = [source, *([tokenizer] if tokenizer else [])]
    check_target(target, made_by=MADE_BY, sources=sources, replace=replace)
    state, file = read_state(source)
    config = _config(file.parent, state)
    weights = from_state_dict({k: v.float().numpy() for k, v in state.items()}, config)
    with new_directory(target, made_by=MADE_BY, sources=sources, replace=replace) as directory:
        graph = build(weights)
        is_half = precision == "fp16"
        onnx.save(to_half(graph) if is_half else graph, str(directory / "model.onnx"))
        _copy_tokenizer(tokenizer or file.parent, directory)
        (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
        allowed = TOLERANCES[precision] if tolerance is None else tolerance
        done = compare(directory / "model.onnx", state, config, allowed)
        write_manifest(
            directory,
            name=name or target.name,
            model="model.onnx",
            precision=precision,
            batch_invariant=not is_half,  # 16 bits round by the shape of the batch
            licence=licence,
            origin=origin or f"converted from {file.name}",
            conversion=dataclasses.asdict(done),
        )
    return done


def read_state(source: Path) -> tuple[dict[str, torch.Tensor], Path]:
    """Tensors of a checkpoint under today's names, and the file they came from.

    A pickle is read with `weights_only`, which runs no code of the file.
    """
    files = _state_files(source)
    state: dict[str, Any] = {}
    for file in files:
        state |= _load(file)
    renamed = {}
    for key, value in state.items():
        for old, new in _OLD_NAMES.items():
            key = key.replace(old, new)
        renamed[key] = value
    return renamed, files[0]


def _state_files(source: Path) -> list[Path]:
    """The files of a checkpoint: one, or those that its index names."""
    if source.is_file() and source.name not in _INDICES:
        return [source]
    if source.is_dir():
        for name in _STATE:
            if (source / name).is_file():
                return [source / name]
    indices = [source] if source.is_file() else [source / name for name in _INDICES]
    for index in indices:
        if index.is_file():
            return _shards(index)
    raise ArtifactError(f"{source} holds neither {' nor '.join((*_STATE, *_INDICES))}")


def _shards(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ArtifactError(f"{index} can't be read: it names no weight_map") from None
    for name in names:
        if not isinstance(name, str) or not is_plain_name(name):
            raise ArtifactError(f"{index}: {name!r} is not a plain file name")
        if not (index.parent / name).is_file():
            raise ArtifactError(f"{index.parent / name} is missing, but {index.name} names it")
    return [index.parent / name for name in names]


def _load(file: Path) -> dict[str, torch.Tensor]:
    torch = _torch()
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(file))
        return dict(torch.load(file, map_location="cpu", weights_only=True))
    except Exception as error:  # neither library has a common base class for its errors
        raise ArtifactError(
            f"{file} is not a plain state dict: {str(error).splitlines()[0]}"
        ) from None


def compare(
    path: Path, state: Mapping[str, torch.Tensor], config: Mapping[str, Any], tolerance: float
) -> Conversion:
    """Compare a graph with PyTorch: names, axes, shapes, then values.

    Args:
        path: the graph.
        state: tensors of the checkpoint.
        config: its configuration.
        tolerance: of a logit.

    Raises:
        ConversionError: a subclass of it names what differs.
    """
    torch = _torch()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    _compare_signature(session)
    model = _pytorch(state, config)
    draw = np.random.default_rng(0)
    limit = int(config["max_position_embeddings"]) - int(config["pad_token_id"]) - 1
    worst = 0.0
    batches = [*_BATCHES, (1, limit), (2, limit)]
    for rows, length in batches:
        ids = draw.integers(4, int(config["vocab_size"]), (rows, length))
        mask = np.ones_like(ids)
        for row in range(1, rows):
            kept = max(2, length // (row + 1))
            ids[row, kept:], mask[row, kept:] = config["pad_token_id"], 0
        with torch.inference_mode():
            expected = model(
                input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)
            ).logits.numpy()
        got = session.run([LOGITS], {IDS: ids, MASK: mask})[0]
        if got.shape != expected.shape:
            raise ShapesDifferError(
                f"a batch of {rows} x {length} tokens gives {got.shape}, PyTorch {expected.shape}"
            )
        worst = max(worst, float(np.abs(got - expected).max()))
        if not worst <= tolerance:
            raise ValuesDifferError(
                f"a batch of {rows} x {length} tokens differs from PyTorch by {worst:.1e}, more "
                f"than {tolerance:.0e} (--tolerance)"
            )
    return Conversion(len(batches), tolerance, worst)


def _compare_signature(session: onnxruntime.InferenceSession) -> None:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    names = [node.name for node in (*inputs, *outputs)]
    if names != [IDS, MASK, LOGITS]:
        raise NamesDifferError(f"the graph has {names}, expected {[IDS, MASK, LOGITS]}")
    for node in inputs:
        if len(node.shape) != 2 or any(isinstance(axis, int) for axis in node.shape):
            raise AxesDifferError(f"{node.name} is {node.shape}; both axes must be free")
    shape = outputs[0].shape
    if len(shape) != 2 or isinstance(shape[0], int) or not isinstance(shape[1], int):
        raise AxesDifferError(f"{LOGITS} is {shape}; (free, classes) is needed")


def _pytorch(state: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> Any:
    from transformers import RobertaConfig, RobertaForSequenceClassification

    known = {k: v for k, v in config.items() if k not in ("torch_dtype", "dtype")}
    model: Any = RobertaForSequenceClassification(RobertaConfig(**known))
    model.eval()
    missing = model.load_state_dict(dict(state), strict=False).missing_keys
    if missing:
        raise ArtifactError(f"the checkpoint has no {', '.join(missing)}")
    return model.float()


def _config(folder: Path, state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """config.json, completed from the shapes of the tensors."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        words = state["roberta.embeddings.word_embeddings.weight"].shape
        layers = {key.split(".")[3] for key in state if key.startswith("roberta.encoder.layer.")}
        wide = state["roberta.encoder.layer.0.intermediate.dense.bias"].shape[0]
        classes = state["classifier.out_proj.bias"].shape[0]
        rows = state["roberta.embeddings.position_embeddings.weight"].shape[0]
    except (ValueError, KeyError) as error:
        raise ArtifactError(f"{folder} holds no RoBERTa classifier: {error}") from None
    labels = {0: "negative", 1: "positive"} if classes == 2 else {i: str(i) for i in range(classes)}
    return {
        "model_type": "roberta",
        "num_attention_heads": max(1, words[1] // _HEAD_WIDTH),
        "layer_norm_eps": 1e-5,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "type_vocab_size": 1,
        "id2label": labels,
        **config,
        "hidden_size": words[1],
        "intermediate_size": wide,
        "num_hidden_layers": len(layers),
        "vocab_size": words[0],
        "max_position_embeddings": rows,
    }


def _copy_tokenizer(source: Path, target: Path) -> None:
    found = [name for name in TOKENIZER_FILES if (source / name).is_file()]
    if not has_tokenizer(found):
        raise ArtifactError(
            f"{source} holds no tokenizer; name its directory (--tokenizer). The published model "
            "needs vocab.json and merges.txt of roberta-base"
        )
    for name in found:
        shutil.copyfile(source / name, target / name)


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise ArtifactError(
            "convert needs PyTorch, which the server does not install: "
            "pip install '.[torch]', in an environment of its own"
        ) from None
    return torch
