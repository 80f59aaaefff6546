"""A Seldon class as most are written: a session with default options, one run a request.

Environment: PLAIN_MODEL is the model's directory.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from lab.benchmarks.contenders.plain_ort import PlainClassifier


class PlainModel:
    """Texts in, probabilities out."""

    loaded = False

    def __init__(self) -> None:
        self._classifier: PlainClassifier | None = None

    def load(self) -> None:
        """Open the session, after the wrapper has forked."""
        self._classifier = PlainClassifier(Path(os.environ["PLAIN_MODEL"]))
        self.loaded = True

    def class_names(self) -> list[str]:
        """Names of the columns."""
        return ["negative", "positive"]

    def predict(self, X: Any, names: Any = None, meta: Any = None) -> Any:  # noqa: N803
        """Probabilities, (n, 2)."""
        logits = np.array(self.run([str(text) for text in np.asarray(X).ravel()]))
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    def run(self, texts: list[str]) -> list[list[float]]:
        """Logits, (n, 2)."""
        assert self._classifier is not None
        return self._classifier.classify(texts, batch=len(texts))

    def health_status(self) -> str:
        """Whether it is loaded."""
        if not self.loaded:
            raise RuntimeError("loading")
        return "ready"
