"""`quantize`: an int8 copy of a model, refused if it is less accurate or depends on the batch."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import onnx
import typer
from rich.console import Console
from rich.table import Table

from roberta_sentiment import container
from roberta_sentiment.classifier import Classifier, load_classifier
from roberta_sentiment.errors import QualityError
from roberta_sentiment.graph.int8 import quantize as quantize_graph
from roberta_sentiment.graph.weights import from_onnx
from roberta_sentiment.model.artifact import Artifact, open_artifact
from roberta_sentiment.model.layout import MANIFEST
from roberta_sentiment.settings import Settings
from roberta_sentiment.tools.command_line import warn
from roberta_sentiment.tools.labelled import (
    LabelColumnOption,
    Labelled,
    TextColumnOption,
    read_labelled,
    read_texts,
)
from roberta_sentiment.tools.manifest import write_manifest
from roberta_sentiment.tools.options import ReplaceOption
from roberta_sentiment.tools.target import check_target, new_directory
from roberta_sentiment.tools.tolerance import batch_tolerance

MADE_BY = "quantization"
"""Entry of the manifest by which an earlier output is known."""
CALIBRATION_TEXTS = 400
BATCH = 16
_WEIGHT_FILES = (".onnx", ".data", ".safetensors", ".bin", ".pt")


@dataclasses.dataclass(frozen=True)
class Report:
    """What quantisation gained and cost, over the evaluation texts.

    Attributes:
        products: multiplications that are done in eight bits.
        accuracy, accuracy_fp32: parts of 1; NaN without labels.
        flips: texts with another label than in float32.
        largest_logit_difference, mean_logit_difference: to float32.
        largest_batch_difference: of a logit, batched and alone.
        bytes, bytes_fp32: sizes of the two graphs.
    """

    texts: int
    products: int
    accuracy: float
    accuracy_fp32: float
    flips: int
    largest_logit_difference: float
    mean_logit_difference: float
    largest_batch_difference: float
    bytes: int
    bytes_fp32: int


def command(
    model: Annotated[Path, typer.Argument(help="Model directory in float32.")],
    target: Annotated[Path, typer.Argument(help="Directory to write.")],
    evaluation: Annotated[
        Path, typer.Option(help="Labelled texts that decide whether the result is good enough.")
    ],
    calibration: Annotated[
        Path | None,
        typer.Option(help="Texts that set the ranges; by default those of --evaluation."),
    ] = None,
    max_drop: Annotated[
        float, typer.Option(help="Most points of accuracy that may be lost.", min=0)
    ] = 0.5,
    text_column: TextColumnOption = "",
    label_column: LabelColumnOption = "",
    name: Annotated[str, typer.Option(help="Name of the model; by default as before.")] = "",
    replace: ReplaceOption = False,
) -> None:
    """Write an int8 model whose answers do not depend on the other texts in the batch."""
    inputs = [model, evaluation, *([calibration] if calibration else [])]
    check_target(target, made_by=MADE_BY, sources=inputs, replace=replace)
    artifact = open_artifact(model)
    data = read_labelled(
        evaluation, artifact.labels, text_column=text_column, label_column=label_column
    )
    texts = read_texts(calibration or evaluation, CALIBRATION_TEXTS, text_column=text_column)
    for remark in data.remarks():
        warn(remark)
    report = quantize(artifact, target, data, texts, max_drop=max_drop, name=name, replace=replace)
    table = Table("", "float32", "int8")
    table.add_row("accuracy", f"{report.accuracy_fp32:.4f}", f"{report.accuracy:.4f}")
    table.add_row("graph, MB", f"{report.bytes_fp32 / 1e6:.1f}", f"{report.bytes / 1e6:.1f}")
    table.add_row("other label", "", f"{report.flips} of {report.texts}")
    table.add_row("largest difference of a logit", "", f"{report.largest_logit_difference:.3f}")
    table.add_row("batched and alone", "", f"{report.largest_batch_difference:.1e}")
    table.add_row("eight-bit products", "", str(report.products))
    Console().print(table)


def quantize(
    artifact: Artifact,
    target: Path,
    data: Labelled,
    calibration: list[str],
    *,
    max_drop: float = 0.5,
    name: str = "",
    replace: bool = False,
) -> Report:
    """Quantise a model and write it as a model directory with a manifest.

    Args:
        artifact: the model in float32.
        target: directory to write; an earlier output of `quantize` is replaced.
        data: decides whether the result is good enough.
        calibration: texts such as the model will see; they need no labels.
        max_drop: most points of accuracy, in per cent, that may be lost.
        name: of the new model.
        replace: whether any other existing target is replaced.

    Raises:
        ArtifactError: the target exists, or is or holds the model.
        GraphError: the graph can't be read as a RoBERTa.
        QualityError: more accuracy was lost than allowed, answers depend on the batch, or
            nothing was quantised. Nothing is written then.
    """
    if artifact.head().is_regression:
        raise QualityError(
            f"{artifact.name} gives values and chooses no label, so no accuracy can decide whether "
            "its int8 copy is good enough; serve it in float32"
        )
    before = load_classifier(artifact, Settings())
    weights = from_onnx(onnx.load(str(artifact.onnx_path)), artifact.config)
    ids = [w for t in before.tokenizer.encode(calibration, "end") for w in t.windows]
    graph, products = quantize_graph(weights, ids)
    with new_directory(
        target, made_by=MADE_BY, sources=[artifact.path], replace=replace
    ) as directory:
        copy_others(artifact.path, directory)
        onnx.save(graph, str(directory / "model.onnx"))
        after = load_classifier(open_artifact(directory), Settings())
        report = _report(artifact, before, after, data, products)
        _refuse(report, max_drop)
        _describe(directory, artifact, report, len(calibration), name)
    return report


def _describe(
    directory: Path, artifact: Artifact, report: Report, calibration_texts: int, name: str
) -> None:
    """Write the manifest of a quantised model."""
    write_manifest(
        directory,
        name=name or artifact.name,
        model="model.onnx",
        precision="int8",
        batch_invariant=True,
        licence=str(artifact.manifest.get("licence", "unknown")),
        origin=str(artifact.manifest.get("origin", f"quantised from {artifact.name}")),
        quantization={
            "scheme": "static u8 x s8, smoothed, one scale a weight column",
            "from_sha256": artifact.sha256,
            "calibration_texts": calibration_texts,
            "instructions": list(container.features()),
            **dataclasses.asdict(report),
        },
    )


def copy_others(source: Path, target: Path) -> None:
    """Copy what belongs to a model beside its weights: tokenizer and configuration."""
    for path in source.iterdir():
        skip = path.suffix in _WEIGHT_FILES or path.name in (MANIFEST, "README.md")
        if path.is_file() and not skip and not path.name.startswith("."):
            shutil.copyfile(path, target / path.name)


def _report(
    artifact: Artifact, before: Classifier, after: Classifier, data: Labelled, products: int
) -> Report:
    exact, alone = _logits(before, data.texts, 1), _logits(after, data.texts, 1)
    together = _logits(after, data.texts, BATCH)
    truth = np.array(data.labels)
    off = np.abs(alone - exact)
    return Report(
        texts=len(truth),
        products=products,
        accuracy=round(float((alone.argmax(axis=1) == truth).mean()), 5),
        accuracy_fp32=round(float((exact.argmax(axis=1) == truth).mean()), 5),
        flips=int((alone.argmax(axis=1) != exact.argmax(axis=1)).sum()),
        largest_logit_difference=round(float(off.max()), 5),
        mean_logit_difference=round(float(off.mean()), 5),
        largest_batch_difference=float(np.abs(together - alone).max()),
        bytes=after.artifact.onnx_path.stat().st_size,
        bytes_fp32=artifact.onnx_path.stat().st_size,
    )


def _logits(classifier: Classifier, texts: list[str], batch: int) -> npt.NDArray[Any]:
    groups = [texts[at : at + batch] for at in range(0, len(texts), batch)]
    return np.concatenate([classifier.classify(group).logits for group in groups])


def _refuse(report: Report, max_drop: float) -> None:
    if not report.products:
        raise QualityError("nothing was quantised: the graph has no linear layer")
    drop = 100 * (report.accuracy_fp32 - report.accuracy)
    if drop > max_drop:
        raise QualityError(
            f"int8 loses {drop:.2f} points of accuracy ({report.accuracy_fp32:.4f} to "
            f"{report.accuracy:.4f}), more than {max_drop} (--max-drop); calibrate with more or "
            "fitting texts (--calibration), or allow more"
        )
    allowed = batch_tolerance("int8")
    if report.largest_batch_difference > allowed:
        raise QualityError(
            "answers depend on the other texts in the batch by "
            f"{report.largest_batch_difference:.1e}, more than {allowed:.0e}"
        )
