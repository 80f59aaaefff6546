"""The models of the benchmarks: random weights of base size in every form that is served.

    python -m lab.benchmarks.models

    checkpoint     for PyTorch                     plain-int8     quantize_dynamic of the export
    export         as Optimum exports it           fp32, int8     ours, with their optimised files

Everything is kept in `build/benchmarks/` and made once.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
from pathlib import Path

from lab.benchmarks.environments import python_of
from lab.benchmarks.machine import ROOT
from lab.benchmarks.texts import sentences
from lab.training.head import put_on

LAYERS, SEED = 12, 0
CALIBRATION_TEXTS = 40
_FOLDER = ROOT / "build" / "benchmarks"


@dataclasses.dataclass(frozen=True)
class Base:
    """Directories with the same weights.

    Attributes:
        path: holds them all.
    """

    path: Path

    @property
    def checkpoint(self) -> Path:
        """PyTorch's."""
        return self.path / "checkpoint"

    @property
    def export(self) -> Path:
        """The plain graph in float32."""
        return self.path / "export"

    @property
    def plain_int8(self) -> Path:
        """The plain graph after ONNX Runtime's dynamic quantisation, one scale a column."""
        return self.path / "plain-int8"

    @property
    def fp32(self) -> Path:
        """Ours."""
        return self.path / "fp32"

    @property
    def int8(self) -> Path:
        """Ours: static u8 x s8, answers independent of the other texts in the batch."""
        return self.path / "int8"


def base(layers: int = LAYERS) -> Base:
    """The models, made if they are not there yet."""
    found = Base(_FOLDER / f"base-{layers}")
    if not found.int8.exists():
        shutil.rmtree(found.path, ignore_errors=True)
        found.path.mkdir(parents=True)
        _export(found, layers)
        _quantize_dynamic(found)
        _make_ours(found)
    for model in (found.fp32, found.int8):
        _optimize(model)
    return found


def default() -> Path:
    """The embedded model, with its optimised file where servers look for it."""
    from roberta_sentiment.model.artifact import DEFAULT_MODEL

    _optimize(DEFAULT_MODEL)
    return DEFAULT_MODEL


def default_checkpoint() -> Path:
    """What the embedded model was made from, for PyTorch: float32, with its tokenizer."""
    from roberta_sentiment.model.artifact import DEFAULT_MODEL

    found = _FOLDER / "default-checkpoint"
    if not found.exists():
        subprocess.run([str(ROOT / "lab" / "checkpoint.sh")], cwd=ROOT, check=True)
        no_graph = shutil.ignore_patterns("*.onnx", ".*", "config.json", "manifest.json")
        shutil.copytree(DEFAULT_MODEL, found, ignore=no_graph)
        put_on(ROOT / "lab" / "training" / "checkpoint", found)
    return found


def default_float() -> Path:
    """The embedded model in float32, from what it was made of."""
    import onnx
    from safetensors.numpy import load_file

    from roberta_sentiment.graph.fused import build
    from roberta_sentiment.graph.weights import from_state_dict

    found = _FOLDER / "default-float"
    if not found.exists():
        checkpoint = default_checkpoint()
        config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
        weights = from_state_dict(load_file(checkpoint / "model.safetensors"), config)
        scratch = found.with_name("default-float-new")
        shutil.copytree(checkpoint, scratch, ignore=shutil.ignore_patterns("*.safetensors"))
        onnx.save(build(weights), str(scratch / "model.onnx"))
        scratch.rename(found)
    return found


def _optimize(model: Path) -> None:
    """Make the optimised file, unless there is one that fits this code and this machine."""
    from roberta_sentiment.model.derived import check, default_roots
    from roberta_sentiment.model.optimize import optimize

    artifact, found = check(model)
    if found is None:
        optimize(artifact, default_roots())


def _export(models: Base, layers: int) -> None:
    subprocess.run(
        [
            str(python_of("optimum")),
            "-m",
            "lab.benchmarks.contenders.export",
            str(models.path),
            str(layers),
            str(SEED),
        ],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        check=True,
    )


def _quantize_dynamic(models: Base) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    shutil.copytree(models.export, models.plain_int8)
    quantize_dynamic(
        models.export / "model.onnx",
        models.plain_int8 / "model.onnx",
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        weight_type=QuantType.QInt8,
    )


def _make_ours(models: Base) -> None:
    import onnx

    from roberta_sentiment.graph.int8 import quantize
    from roberta_sentiment.graph.weights import from_onnx
    from roberta_sentiment.model.artifact import open_artifact
    from roberta_sentiment.settings import Settings
    from roberta_sentiment.text.tokenizer import load_tokenizer
    from roberta_sentiment.tools.manifest import write_manifest

    shutil.copytree(models.export, models.fp32)
    artifact = open_artifact(models.fp32)
    tokenizer = load_tokenizer(artifact, max_tokens=0, overlap=Settings().window_overlap)
    texts = tokenizer.encode(sentences(CALIBRATION_TEXTS, seed=1), "end")
    weights = from_onnx(onnx.load(str(artifact.onnx_path)), artifact.config)
    graph, _ = quantize(weights, [text.windows[0] for text in texts])
    scratch = models.path / "int8-new"
    shutil.copytree(models.export, scratch, ignore=shutil.ignore_patterns("*.onnx"))
    onnx.save(graph, str(scratch / "model.onnx"))
    write_manifest(
        scratch,
        name="base-int8",
        model="model.onnx",
        precision="int8",
        batch_invariant=True,
        licence="Apache-2.0",
        origin="random weights",
    )
    scratch.rename(models.int8)


def main() -> None:
    """Make them."""
    print(base().path)


if __name__ == "__main__":
    main()
