"""Make tests/fixtures/exports: one classifier as three exporters write it.

    python -m scripts.export_fixtures

Needs torch 2.13.0, transformers 4.57.6 and optimum-onnx 0.1.0, in an environment of its own. The
weights are those of tests/fixtures/zoo_tiny, the word table cut to what the toy tokenizer knows.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from optimum.exporters.onnx import main_export

from tests import toy
from tests.conversion.checkpoint import classifier, export

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "exports"


def main() -> None:
    """Write the graphs, each in a file named after its exporter."""
    model = classifier(len(toy.vocabulary()))
    export(model, FOLDER / "torch_mask.onnx", mask=True)
    export(model, FOLDER / "torch_plain.onnx", mask=False)
    _export_with_optimum(model, FOLDER / "optimum.onnx")


def _export_with_optimum(model: Any, path: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        source, target = Path(scratch) / "source", Path(scratch) / "target"
        model.save_pretrained(source)
        toy.tokenizer().save(str(source / "tokenizer.json"))
        main_export(
            str(source),
            target,
            task="text-classification",
            library_name="transformers",
            do_validation=False,
        )
        shutil.copyfile(target / "model.onnx", path)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
