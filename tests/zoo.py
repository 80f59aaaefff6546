"""The published graph in small: two layers of 16, with the logits that PyTorch gave.

`tests/fixtures/zoo_tiny` was exported as the Model Zoo's file was (torch 1.5.0, transformers 2.1.0)
from random weights; it has one input and no mask.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from tests import ROOT

FOLDER = Path(__file__).parent / "fixtures" / "zoo_tiny"
DEFAULT = ROOT / "models" / "default"
CONFIG: dict[str, Any] = json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))
_REFERENCES = json.loads((FOLDER / "roberta-tiny-9.json").read_text(encoding="utf-8"))["references"]

IDS: list[list[int]] = [reference["ids"] for reference in _REFERENCES]
LOGITS = np.array([reference["logits"] for reference in _REFERENCES], dtype=np.float32)
"""What PyTorch gave for each of `IDS` alone, float32 (18, 2)."""


def graph() -> onnx.ModelProto:
    """The graph as it was exported."""
    return onnx.load(str(FOLDER / "roberta-tiny-9.onnx"))


def padded() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """All of `IDS` in one right-padded batch, with its mask."""
    ids = np.ones((len(IDS), max(map(len, IDS))), dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, sequence in enumerate(IDS):
        ids[row, : len(sequence)], mask[row, : len(sequence)] = sequence, 1
    return ids, mask


def write(directory: Path) -> Path:
    """A model directory as a user of the Model Zoo has it, with a tokenizer that fits."""
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(
        FOLDER / "roberta-tiny-9.onnx", directory / "roberta-sequence-classification-9.onnx"
    )
    shutil.copyfile(FOLDER / "config.json", directory / "config.json")
    shutil.copyfile(DEFAULT / "tokenizer.json", directory / "tokenizer.json")
    return directory
