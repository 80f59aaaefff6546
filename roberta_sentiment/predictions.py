"""The answer of a model to texts, whatever model it is."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

Probabilities = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Work:
    """What answering took.

    Attributes:
        batches: runs of the model; one shared with other callers is counted for one of them.
        tokens: tokens the model saw, without padding.
        padding: tokens of padding in those runs.
        tokenize_s, queue_s, infer_s: seconds.
    """

    batches: int
    tokens: int
    padding: int
    tokenize_s: float
    queue_s: float
    infer_s: float


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Answers to n texts, in their order.

    Attributes:
        labels: names of the k classes.
        logits: (n, k) float32, as the model gave them (the mean over windows).
        tokens: length of each text, special tokens included.
        truncated: positions of the texts of which the model saw only a part.
        work: what it took.
    """

    labels: tuple[str, ...]
    logits: npt.NDArray[np.float32]
    tokens: list[int]
    truncated: list[int]
    work: Work

    @property
    def probabilities(self) -> Probabilities:
        """(n, k) float64, each row sums to 1."""
        return softmax(self.logits)

    @property
    def best(self) -> list[str]:
        """The label with the highest score of each text."""
        return [self.labels[i] for i in self.logits.argmax(axis=1)]


def softmax(logits: npt.NDArray[np.float32]) -> Probabilities:
    """Probabilities of logits.

    Args:
        logits: (n, k) float32.

    Returns:
        (n, k) float64; each row sums to 1. Computed in float64, less the row's maximum.
    """
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    probabilities: Probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities
