"""The Model Zoo's sample data: folders test_data_set_0, ... with inputs and outputs as protobufs.

Those of the published model were once float64 of shape (1, 1, length), with outputs (1, 1, 1, 2)
(github.com/onnx/models, issue 408); such types and shapes are corrected before the comparison.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from roberta_sentiment.tools.verify.result import Result, failed, passed, skipped
from roberta_sentiment.tools.verify.subject import Subject

TOLERANCE = 1e-3
"""Largest difference of a logit, as a part of the expected one or of 1; the Model Zoo's own."""

_FOLDERS = "test_data_set_*"
Array = npt.NDArray[Any]


class _UnfitError(Exception):
    """Sample data that are not those of such a model."""


def check_test_data(subject: Subject) -> Result:
    """The sample data that came with the model give the outputs that came with them."""
    folders = sorted(path for path in subject.path.glob(_FOLDERS) if path.is_dir())
    if not folders:
        return skipped(f"the directory has no {_FOLDERS}")
    worst, corrected = 0.0, set()
    for folder in folders:
        try:
            rows, expected, changes = _read(folder, subject.width)
        except _UnfitError as error:
            return failed(f"{folder.name}: {error}")
        corrected |= changes
        answer = subject.classifier.classify_ids(rows).logits
        if answer.shape != expected.shape:
            return failed(f"{folder.name}: {len(answer)} answers, but {len(expected)} expected")
        off = np.abs(answer - expected) / np.maximum(1, np.abs(expected))
        worst = max(worst, float(off.max()))
        if not worst <= TOLERANCE:
            return failed(
                f"{folder.name}: largest difference {worst:.1e}, more than {TOLERANCE:.0e}"
                f"{_corrections(corrected)}",
                largest_difference=worst,
            )
    return passed(
        f"{len(folders)} sets: largest difference {worst:.1e}{_corrections(corrected)}",
        sets=len(folders),
        largest_difference=worst,
        corrected=sorted(corrected),
    )


def _read(folder: Path, width: int) -> tuple[list[list[int]], Array, set[str]]:
    """Rows of ids without padding, the logits expected, and what had to be corrected."""
    inputs = [_tensor(path) for path in sorted(folder.glob("input_*.pb"), key=_number)]
    outputs = [_tensor(path) for path in sorted(folder.glob("output_*.pb"), key=_number)]
    if not inputs or not outputs:
        raise _UnfitError("it needs input_0.pb and output_0.pb")
    changes: set[str] = set()
    ids = _ids(inputs[0], changes)
    mask = _ids(inputs[1], changes) if len(inputs) > 1 else np.ones_like(ids)
    if mask.shape != ids.shape:
        raise _UnfitError(f"input_1 is {mask.shape}, but input_0 is {ids.shape}")
    return (
        [row[kept != 0].tolist() for row, kept in zip(ids, mask, strict=True)],
        _logits(outputs[0], width, changes),
        changes,
    )


def _tensor(path: Path) -> Array:
    tensor = onnx.TensorProto()
    try:
        tensor.ParseFromString(path.read_bytes())
        return np.asarray(numpy_helper.to_array(tensor))
    except Exception as error:  # protobuf and numpy have no common base class for their errors
        raise _UnfitError(f"{path.name} holds no tensor ({type(error).__name__})") from None


def _number(path: Path) -> int:
    digits = path.stem.rpartition("_")[2]
    return int(digits) if digits.isdecimal() else -1


def _ids(values: Array, changes: set[str]) -> Array:
    """Whole numbers of two axes, (batch, length) int64."""
    if values.dtype.kind not in "iuf" or not np.array_equal(values, np.rint(values)):
        raise _UnfitError(f"its inputs are {values.dtype}, and not all are whole numbers")
    if values.dtype != np.int64:
        changes.add(f"{values.dtype} inputs")
    return _flat(values.astype(np.int64), values.shape[-1:], changes)


def _logits(values: Array, width: int, changes: set[str]) -> Array:
    """Scores of two axes, (batch, classes) float32."""
    if values.dtype.kind != "f" or values.shape[-1:] != (width,):
        raise _UnfitError(f"its output is {values.dtype} {values.shape}, not {width} logits a row")
    if values.dtype != np.float32:
        changes.add(f"{values.dtype} outputs")
    return _flat(values.astype(np.float32), (width,), changes)


def _flat(values: Array, last: tuple[int, ...], changes: set[str]) -> Array:
    if values.ndim < 1 or not values.size:
        raise _UnfitError(f"it holds a tensor of shape {values.shape}")
    if values.ndim != 2:
        changes.add(f"shape {values.shape}")
    return values.reshape(-1, *last)


def _corrections(changes: set[str]) -> str:
    return f" (corrected: {', '.join(sorted(changes))})" if changes else ""
