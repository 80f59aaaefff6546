"""ONNX Runtime as its documentation uses it. Argument: the model's directory."""

from __future__ import annotations

import sys
from pathlib import Path

import onnxruntime

from lab.benchmarks.contenders.batches import Batches
from lab.benchmarks.contenders.loop import serve


class PlainClassifier:
    """A tokenizer that pads and a session with its default options.

    Args:
        directory: with tokenizer.json and model.onnx.
    """

    def __init__(self, directory: Path) -> None:
        self._batches = Batches(directory)
        self._session = onnxruntime.InferenceSession(
            str(directory / "model.onnx"), providers=["CPUExecutionProvider"]
        )

    def classify(self, texts: list[str], batch: int = 1, sort: bool = False) -> list[list[float]]:
        """Logits of each text, (n, classes); see `Batches.run`."""
        return self._batches.run(
            lambda feed: self._session.run(["logits"], feed)[0], texts, batch=batch, sort=sort
        )


if __name__ == "__main__":
    serve(PlainClassifier(Path(sys.argv[1])).classify, ("onnxruntime", "tokenizers"))
