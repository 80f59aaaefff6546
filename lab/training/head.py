"""A checkpoint with its calibrated head, as a Hugging Face model directory in float32.

python -m lab.training.head lab/training/checkpoint build/default/checkpoint
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

WEIGHTS, HEAD = "model.safetensors", "head.safetensors"
"""Of a checkpoint: all its tensors, and those of a head that was calibrated for them."""


def put_on(checkpoint: Path, target: Path) -> None:
    """Write the directory; the tensors of `HEAD`, if it exists, replace those of the same name."""
    target.mkdir(parents=True, exist_ok=True)
    for path in checkpoint.glob("*.json"):
        shutil.copyfile(path, target / path.name)
    old = load_file(checkpoint / WEIGHTS)
    new = load_file(checkpoint / HEAD) if (checkpoint / HEAD).exists() else {}
    unknown = new.keys() - old.keys()
    if unknown:
        raise SystemExit(f"{checkpoint / HEAD} holds tensors of another model: {sorted(unknown)}")
    tensors = {name: tensor.astype(np.float32) for name, tensor in {**old, **new}.items()}
    save_file(tensors, target / WEIGHTS, metadata={"format": "pt"})


def main() -> None:
    """Write the directory named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("target", type=Path)
    asked = parser.parse_args()
    put_on(asked.checkpoint, asked.target)


if __name__ == "__main__":
    main()
