"""What the node hands to the metrics store of its server."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from roberta_sentiment.serving import metrics
from seldon_node.recorder import Recorder


def test_nothing_is_counted_before_there_is_a_store() -> None:
    """The wrapper makes it after the model; its own count of rewards is left out."""
    recorder = Recorder()
    recorder.record(metrics.refusal_metrics("TOO_LARGE"), "predict")
    calls: list[Any] = []
    store = SimpleNamespace(
        update=lambda *given: calls.append(given), update_reward=lambda reward: calls.append(reward)
    )
    recorder.connect(store, ["bad"])
    recorder.record(metrics.refusal_metrics("TOO_LARGE"), "feedback")
    store.update_reward(1.0)
    assert [(metrics.refusal_metrics("TOO_LARGE"), "feedback")] == calls
