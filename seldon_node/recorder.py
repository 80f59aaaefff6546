"""Hands what the node counts to the metrics store of its server."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from roberta_sentiment.serving.metrics import Method, Metric, initial_metrics


class Store(Protocol):
    """A metrics store: ours, or the wrapper's `seldon_core.metrics.SeldonMetrics`."""

    def update(self, custom_metrics: list[Metric], method: str) -> None: ...
    def update_reward(self, reward: float) -> None: ...


class Recorder:
    """Hands metrics to the store that the wrapper has made; before that nothing is counted."""

    def __init__(self) -> None:
        self._store: Store | None = None

    def connect(self, store: Store, labels: Sequence[str]) -> None:
        """Count into a store from now on; every series whose labels are known begins at 0.

        Args:
            store: of this service.
            labels: of the model.
        """
        self._store = store
        # The wrapper counts the reward before the node has looked at the feedback.
        store.update_reward = lambda reward: None  # type: ignore[method-assign]
        begin = getattr(store, "begin", None)
        if begin is not None:
            for method, series in initial_metrics(labels).items():
                begin(series, method)

    def record(self, metrics: Iterable[Metric], method: Method) -> None:
        """Add metrics to the store.

        Args:
            metrics: as Seldon's `metrics()` gives them.
            method: label `method` of the series.
        """
        if self._store is not None:
            self._store.update(list(metrics), method)
