"""Hands what the node counts to the metrics store of its server."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from seldon_core import wrapper

from roberta_sentiment.serving.metrics import Method, Metric, initial_metrics
from roberta_sentiment.serving.patching import patch


class Store(Protocol):
    """A metrics store: ours, or the wrapper's `seldon_core.metrics.SeldonMetrics`."""

    def update(self, custom_metrics: list[Metric], method: str) -> None: ...
    def update_reward(self, reward: float) -> None: ...


class Recorder:
    """Hands metrics to the store that the wrapper has made; before that nothing is counted."""

    def __init__(self) -> None:
        self._store: Store | None = None

    def connect(self, store: Store, labels: Sequence[str], device: str = "cpu") -> None:
        """Count into a store from now on; every series whose labels are known begins at 0.

        Args:
            store: of this service.
            labels: of the model.
            device: where it runs.
        """
        self._store = store
        # The wrapper counts the reward before the node has looked at the feedback.
        store.update_reward = lambda reward: None  # type: ignore[method-assign]
        begin = getattr(store, "begin", None)
        if begin is not None:
            for method, series in initial_metrics(labels, device).items():
                begin(series, method)

    def record(self, metrics: Iterable[Metric], method: Method) -> None:
        """Add metrics to the store.

        Args:
            metrics: as Seldon's `metrics()` gives them.
            method: label `method` of the series.
        """
        if self._store is not None:
            self._store.update(list(metrics), method)


def repair() -> None:
    """Let a node count in the store of its server, whichever other repairs are left out."""

    def get_rest_microservice(user_model: Any, seldon_metrics: Any) -> Any:
        _connect(user_model, seldon_metrics)
        return make_rest(user_model, seldon_metrics)

    def get_grpc_server(user_model: Any, seldon_metrics: Any, *args: Any, **rest: Any) -> Any:
        _connect(user_model, seldon_metrics)
        return make_grpc(user_model, seldon_metrics, *args, **rest)

    make_rest = patch(wrapper, "get_rest_microservice", get_rest_microservice)
    make_grpc = patch(wrapper, "get_grpc_server", get_grpc_server)


def _connect(user_model: Any, store: Store) -> None:
    recorder = getattr(user_model, "recorder", None)
    if isinstance(recorder, Recorder):
        recorder.connect(store, user_model.labels, user_model.device)
