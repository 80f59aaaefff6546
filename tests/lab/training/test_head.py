"""The calibrated head takes the place of the checkpoint's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("safetensors", reason="only the tests' own environment has it")

from safetensors.numpy import load_file, save_file

from lab.training.head import HEAD, WEIGHTS, put_on


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Two tensors in float16, one of them of the head."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    tensors = {"roberta.w": np.ones(2), "classifier.w": np.zeros(2)}
    save_file({n: t.astype(np.float16) for n, t in tensors.items()}, folder / WEIGHTS)
    (folder / "config.json").write_text("{}", encoding="utf-8")
    return folder


@pytest.mark.parametrize(("head", "expected"), [(0.1, 0.1), (None, 0.0)])
def test_only_the_head_changes(
    checkpoint: Path, tmp_path: Path, head: float | None, expected: float
) -> None:
    """The other tensors come from the weights; all are in float32."""
    if head is not None:
        save_file({"classifier.w": np.full(2, head, np.float32)}, checkpoint / HEAD)
    target = tmp_path / "target"
    put_on(checkpoint, target)
    found = load_file(target / WEIGHTS)
    assert {"float32"} == {str(tensor.dtype) for tensor in found.values()}
    np.testing.assert_array_equal(np.ones(2), found["roberta.w"])
    np.testing.assert_array_equal(np.full(2, expected, np.float32), found["classifier.w"])
    assert (target / "config.json").is_file()


def test_a_head_of_another_model_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    """With the names that the weights do not have."""
    save_file({"classifier.x": np.zeros(2)}, checkpoint / HEAD)
    with pytest.raises(SystemExit, match=r"another model: \['classifier.x'\]"):
        put_on(checkpoint, tmp_path / "target")
