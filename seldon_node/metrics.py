"""What the node counts, as custom metrics of Seldon's wrapper."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from typing import Any, Protocol

from roberta_sentiment.predictions import Predictions

Metric = dict[str, Any]


class Store(Protocol):
    """The wrapper's metrics store, `seldon_core.metrics.SeldonMetrics`."""

    def update(self, custom_metrics: list[Metric], method: str) -> None: ...


@dataclasses.dataclass
class Recorder:
    """Hands metrics to the wrapper's store as soon as the wrapper has made one.

    Attributes:
        store: bound by the repaired wrapper in each server process; without it nothing is counted.
    """

    store: Store | None = None

    def record(self, metrics: Iterable[Metric], method: str) -> None:
        """Add metrics to the store.

        Args:
            metrics: as Seldon's `metrics()` gives them.
            method: label `method` of the series: predict or feedback.
        """
        if self.store is not None:
            self.store.update(list(metrics), method)


def of_predictions(predictions: Predictions) -> list[Metric]:
    """What one answered request adds."""
    work = predictions.work
    metrics = [
        _counter("sentiment_texts", count, label=label)
        for label, count in Counter(predictions.best).items()
    ]
    metrics += [
        _counter("sentiment_tokens", work.tokens),
        _counter("sentiment_padding_tokens", work.padding),
        _counter("sentiment_batches", work.batches),
        _timer("sentiment_tokenize_seconds", work.tokenize_s),
        _timer("sentiment_queue_seconds", work.queue_s),
        _timer("sentiment_infer_seconds", work.infer_s),
    ]
    if predictions.truncated:
        metrics.append(_counter("sentiment_truncated_texts", len(predictions.truncated)))
    return metrics


def of_refusal(reason: str) -> list[Metric]:
    """What one refused or failed request adds."""
    return [_counter("sentiment_refused_requests", 1, reason=reason.lower())]


def of_feedback(pairs: Iterable[tuple[str, str]], reward: float) -> list[Metric]:
    """What one feedback adds.

    Args:
        pairs: truth and prediction of each text that has a truth.
        reward: of the whole feedback; 0 counts as a reward too.
    """
    metrics = [
        _counter("sentiment_feedback", count, truth=truth, prediction=prediction)
        for (truth, prediction), count in Counter(pairs).items()
    ]
    metrics.append(_counter("sentiment_rewards", 1))
    if reward:
        sign = "positive" if reward > 0 else "negative"
        metrics.append(_counter("sentiment_reward_sum", abs(reward), sign=sign))
    return metrics


def of_foreign_feedback() -> list[Metric]:
    """What feedback on another model's answer adds."""
    return [_counter("sentiment_foreign_feedback", 1)]


def _counter(key: str, value: float, **tags: str) -> Metric:
    return {"type": "COUNTER", "key": key, "value": value, "tags": tags}


def _timer(key: str, seconds: float) -> Metric:
    """The wrapper takes milliseconds and exposes seconds."""
    return {"type": "TIMER", "key": key, "value": seconds * 1000, "tags": {}}
