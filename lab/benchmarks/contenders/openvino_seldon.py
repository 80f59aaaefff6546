"""A Seldon class around OpenVINO: one request a run, as many side by side as it has streams.

Environment: PLAIN_MODEL is the exported model's directory, OPENVINO_MODE the performance hint.
"""

from __future__ import annotations

import os
from pathlib import Path

from lab.benchmarks.contenders.openvino_batches import OpenvinoClassifier
from lab.benchmarks.contenders.plain_seldon import PlainModel


class OpenvinoModel(PlainModel):
    """Texts in, probabilities out, in int8."""

    def load(self) -> None:
        """Compile the model, after the wrapper has forked."""
        mode = os.environ["OPENVINO_MODE"]
        self._openvino = OpenvinoClassifier(Path(os.environ["PLAIN_MODEL"]), "int8", mode)
        self.loaded = True

    def run(self, texts: list[str]) -> list[list[float]]:
        """Logits, (n, 2)."""
        return self._openvino.run(texts)
