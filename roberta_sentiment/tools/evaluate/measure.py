"""Run a model over texts: together for the answers and the throughput, one by one for latency."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from roberta_sentiment.classifier import Classifier, Probabilities
from roberta_sentiment.errors import DataError, RequestError

BATCH = 64
WARM_UP = 3

Track = Callable[[Sequence[int], str], Iterable[int]]
"""Shows how far a loop is."""


@dataclasses.dataclass(frozen=True)
class Answers:
    """Answers of a model to n texts, `BATCH` in a call.

    Attributes:
        probabilities: (n, k) float64.
        tokens: length of each text, special tokens included.
        truncated: texts of which the model saw only a part.
        seconds: tokenisation included.
    """

    probabilities: Probabilities
    tokens: list[int]
    truncated: int
    seconds: float


@dataclasses.dataclass(frozen=True)
class Latency:
    """Milliseconds from text to scores, each text alone; percentiles by linear interpolation."""

    texts: int
    mean: float
    p50: float
    p90: float
    p99: float


def answer(classifier: Classifier, texts: Sequence[str], track: Track) -> Answers:
    """Score texts.

    Raises:
        DataError: a text can't be scored.
        InferenceError: the model failed.
    """
    probabilities: list[Probabilities] = []
    tokens: list[int] = []
    truncated, seconds = 0, 0.0
    classifier.classify(["good"])
    for at in track(range(0, len(texts), BATCH), "scores"):
        start = time.perf_counter()
        try:
            predictions = classifier.classify(texts[at : at + BATCH])
        except RequestError as error:
            raise DataError(f"in the {BATCH} texts after number {at}: {error.message}") from error
        seconds += time.perf_counter() - start
        probabilities.append(predictions.probabilities)
        tokens += predictions.tokens
        truncated += len(predictions.truncated)
    return Answers(np.concatenate(probabilities), tokens, truncated, seconds)


def latency(classifier: Classifier, texts: Sequence[str], most: int, track: Track) -> Latency:
    """Time texts one by one.

    Args:
        classifier: the model.
        texts: n texts, n at least 1.
        most: texts to time, spread evenly over all.
        track: shows the progress.
    """
    positions = np.unique(np.linspace(0, len(texts) - 1, min(most, len(texts))).round().astype(int))
    for text in texts[:WARM_UP]:
        classifier.classify([text])
    times = []
    for position in track(positions.tolist(), "latency"):
        start = time.perf_counter()
        classifier.classify([texts[position]])
        times.append(1000 * (time.perf_counter() - start))
    p50, p90, p99 = np.percentile(times, [50, 90, 99])
    return Latency(len(times), float(np.mean(times)), float(p50), float(p90), float(p99))
