"""The answer of any model to texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from roberta_sentiment.model.heads import THRESHOLD, Head, Scores, softmax
from roberta_sentiment.settings import Truncation

__all__ = ["Predictions", "Probabilities", "TextClassifier", "Work", "softmax"]

Probabilities = Scores


@dataclasses.dataclass(frozen=True)
class Work:
    """What answering took.

    Attributes:
        batches: runs of the model; one shared with other callers is counted for one of them.
        tokens: tokens the model saw, without padding.
        padding: tokens of padding in those runs.
        tokenize_s, queue_s, infer_s: seconds.
        device: where the model ran.
    """

    batches: int
    tokens: int
    padding: int
    tokenize_s: float
    queue_s: float
    infer_s: float
    device: str = "cpu"


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Answers to n texts, in their order.

    Attributes:
        labels: names of the k classes.
        logits: (n, k) float32, as the graph gave them (the mean over windows); probabilities
            where the head is in the graph.
        tokens: length of each text, special tokens included.
        truncated: positions of the texts of which the model saw only a part.
        work: what it took.
        head: how logits become scores.
    """

    labels: tuple[str, ...]
    logits: npt.NDArray[np.float32]
    tokens: list[int]
    truncated: list[int]
    work: Work
    head: Head = Head()

    @property
    def probabilities(self) -> Probabilities:
        """(n, k) float64: each row sums to 1 (softmax), each score is from 0 to 1 by itself
        (sigmoid), or values of a regression (identity).
        """
        return self.head.scores(self.logits)

    @property
    def best(self) -> list[str]:
        """The label with the highest score of each text."""
        return [self.labels[i] for i in self.logits.argmax(axis=1)]

    @property
    def chosen(self) -> list[tuple[str, ...]]:
        """The labels of each text: the best one; of a multi-label model those that reach 0.5."""
        if not self.head.multi_label:
            return [(label,) for label in self.best]
        return choose(self.labels, self.probabilities)

    def summary(self, position: int) -> list[tuple[str, float]]:
        """A text in short: its labels with their scores, or all values of a regression."""
        row = self.probabilities[position].tolist()
        names = self.labels if self.head.is_regression else self.chosen[position]
        names = names or (self.best[position],)
        return [(name, row[self.labels.index(name)]) for name in names]


class TextClassifier(Protocol):
    """What a server needs of its model."""

    @property
    def labels(self) -> tuple[str, ...]: ...
    def classify(
        self, texts: Sequence[str], truncation: Truncation | None = None
    ) -> Predictions: ...
    def classify_ids(self, rows: Sequence[Sequence[int]]) -> Predictions: ...


def choose(labels: Sequence[str], scores: Probabilities) -> list[tuple[str, ...]]:
    """The labels whose scores reach `THRESHOLD`, for each row of (n, k) scores."""
    return [
        tuple(label for label, score in zip(labels, row, strict=True) if score >= THRESHOLD)
        for row in scores.tolist()
    ]
