"""Tiny models of ten families with what transformers says to them; see scripts.export_families."""

from __future__ import annotations

import dataclasses
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

FOLDER = Path(__file__).parent / "fixtures" / "families"
FAMILIES = sorted(path.name.removesuffix(".tar.xz") for path in FOLDER.glob("*.tar.xz"))
HEADS = ("softmax2", "softmax3", "sigmoid", "regression", "probabilities")


@dataclasses.dataclass(frozen=True)
class Reference:
    """What transformers said to the texts of a model.

    Attributes:
        names: of the texts: their length in words.
        texts: n texts.
        tokens: length of each, special tokens included.
        ids: token ids that the model saw.
        logits, scores: (n, k) before and after the head's activation.
    """

    names: list[str]
    texts: list[str]
    tokens: list[int]
    ids: list[list[int]]
    logits: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]


def unpack(target: Path, chosen: Sequence[str] = FAMILIES) -> Path:
    """Unpack models as `target/FAMILY/HEAD`."""
    for family in chosen:
        with tarfile.open(FOLDER / f"{family}.tar.xz") as archive:
            archive.extractall(target, filter="data")
    return target


def read_reference(model: Path) -> Reference:
    """Read the reference of a model directory."""
    entries = json.loads((model / "reference.json").read_text(encoding="utf-8"))
    return Reference(
        names=[entry["name"] for entry in entries],
        texts=[entry["text"] for entry in entries],
        tokens=[entry["tokens"] for entry in entries],
        ids=[entry["ids"] for entry in entries],
        logits=np.array([entry["logits"] for entry in entries]),
        scores=np.array([entry["scores"] for entry in entries]),
    )
