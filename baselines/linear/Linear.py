"""The Seldon node: TF-IDF and logistic regression."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from baselines.linear.model import WEIGHTS, LinearClassifier, Weights
from baselines.node import BaselineNode


class Linear(BaselineNode):
    """A linear model over words and pairs of words."""

    NAME = "tfidf-linear"
    PRECISION = "fp32"
    LICENCE = "Apache-2.0"
    ORIGIN = "trained by baselines/train on SST-2 and sentence polarity v1.0"

    def files(self) -> Sequence[Path]:
        """The weights."""
        return [WEIGHTS]

    def read(self) -> LinearClassifier:
        """Read the weights."""
        return LinearClassifier(Weights.read())
