"""The counts of a model, in prometheus_client's registry."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mlserver", reason="make test-oip runs these in an environment with MLServer")

from prometheus_client import REGISTRY

from oip_node.metrics import Recorder
from roberta_sentiment.errors import CallerGoneError, TextError
from roberta_sentiment.predictions import Predictions, Work

LABELS = ("negative", "positive")
TWO = Predictions(
    LABELS, np.array([[0, 1], [2, 0]], np.float32), [3, 4], [1], Work(1, 7, 1, 0.002, 0.004, 0.5)
)


def value(model: str, name: str, method: str = "predict", **labels: str) -> float | None:
    node = {"model_name": model, "deployment_name": "", "predictor_name": "", "method": method}
    return REGISTRY.get_sample_value(name, {**node, **labels})


def test_series_begin_at_0() -> None:
    """A rate needs the value before the first event."""
    Recorder("begins", LABELS, "cpu")
    assert 0 == value("begins", "sentiment_answered_requests_total")
    assert 0 == value("begins", "sentiment_texts_total", label="positive")
    assert 0 == value("begins", "sentiment_refused_requests_total", "other", reason="not_found")


def test_answers() -> None:
    """Texts by label, tokens, and times in seconds; each model has its own series."""
    recorder, other = Recorder("answers", LABELS, "cpu"), Recorder("quiet", LABELS, "cpu")
    recorder.answered(TWO)
    recorder.answered(TWO)
    assert 2 == value("answers", "sentiment_answered_requests_total")
    assert 2 == value("answers", "sentiment_texts_total", label="negative")
    assert 14 == value("answers", "sentiment_tokens_total")
    assert 2 == value("answers", "sentiment_truncated_texts_total")
    assert 1.0 == value("answers", "sentiment_infer_seconds_sum")
    other.refused(TextError("no text"))
    assert 0 == value("quiet", "sentiment_answered_requests_total")


def test_refusals() -> None:
    """By their reason; what was dropped is counted as such, too."""
    recorder = Recorder("refuses", LABELS, "cpu")
    recorder.refused(TextError("no text"))
    recorder.refused(CallerGoneError())
    assert 1 == value("refuses", "sentiment_refused_requests_total", reason="bad_text")
    assert 1 == value("refuses", "sentiment_dropped_requests_total")


def test_names_of_the_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on the Seldon side they are what the operator put into the environment."""
    monkeypatch.setenv("PREDICTIVE_UNIT_ID", "unit")
    monkeypatch.setenv("SELDON_DEPLOYMENT_ID", "reviews")
    Recorder("sentiment", LABELS, "cpu").answered(TWO)
    name = "sentiment_answered_requests_total"
    assert 1 == value("unit", name, deployment_name="reviews")
