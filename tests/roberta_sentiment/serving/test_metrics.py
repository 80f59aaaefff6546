"""What each event adds to the counts, and docs/metrics.md says all of it."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pytest

from roberta_sentiment.errors import CallerGoneError, OverloadedError
from roberta_sentiment.predictions import Predictions, Work
from roberta_sentiment.serving import metrics
from tests import ROOT

DOCS = ROOT / "docs" / "metrics.md"


def test_many_labels_begin_without_their_table() -> None:
    """A thousand labels would be a million series of zeros."""
    begun = metrics.initial_metrics([str(n) for n in range(1000)])
    assert 1000 == sum(m["key"] == "sentiment_texts" for m in begun["predict"])
    assert not any(m["key"] == "sentiment_feedback" for m in begun["feedback"])


def test_the_page_in_the_docs_is_true() -> None:
    """Name, type, labels and meaning of every metric, as the page itself says them."""
    text = DOCS.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) ?\| (.+) \|$", text, re.MULTILINE)
    recorded = [
        (name.removesuffix("_total") if kind == "counter" else name, kind, labels, meaning)
        for name, kind, labels, meaning in rows
    ]
    assert [
        (d.name, d.type, ", ".join(f"`{label}`" for label in d.labels), d.help)
        for d in metrics.DEFINITIONS
    ] == recorded


def by_name(added: list[metrics.Metric]) -> dict[str, Any]:
    """Values by name, with the labels behind it where there are some."""
    return {
        " ".join([metric["key"].removeprefix("sentiment_"), *metric["tags"].values()]): (
            metric["value"]
        )
        for metric in added
    }


def test_an_answer_adds_its_texts_tokens_and_times() -> None:
    """Milliseconds, of which the wrapper makes seconds; texts by their best label."""
    work = Work(batches=2, tokens=30, padding=4, tokenize_s=0.5, queue_s=0.25, infer_s=2)
    logits = np.array([[1, 0], [0, 1], [0, 2]], np.float32)
    answer = Predictions(("bad", "good"), logits, [9, 9, 12], [0, 2], work)
    expected = {
        "texts bad": 1, "texts good": 2, "answered_requests": 1, "tokens": 30, "padding_tokens": 4,
        "batches cpu": 2, "truncated_texts": 2, "tokenize_seconds": 500, "queue_seconds": 250,
        "infer_seconds": 2000,
    }  # fmt: skip
    assert expected == by_name(metrics.prediction_metrics(answer))
    whole = dataclasses.replace(answer, truncated=[])
    del expected["truncated_texts"]
    assert expected == by_name(metrics.prediction_metrics(whole))


def test_a_request_without_an_answer_adds_a_refusal_or_what_was_dropped() -> None:
    """A dropped one counts once, however many tokens it had."""
    assert {"refused_requests too_large": 1} == by_name(metrics.refusal_metrics("TOO_LARGE"))
    gone = CallerGoneError()
    gone.tokens = 70
    expected = {"refused_requests caller_gone": 1, "dropped_requests": 1, "dropped_tokens": 70}
    assert expected == by_name(metrics.error_metrics(gone))
    full = OverloadedError("full", 3)
    assert {"refused_requests overloaded": 1} == by_name(metrics.error_metrics(full))
    assert {"worker_restarts rest hung": 1} == by_name(metrics.restart_metrics("rest", "hung"))
    assert {"answered_requests": 1, "foreign_feedback": 1} == (
        by_name(metrics.other_model_metrics())
    )


@pytest.mark.parametrize(
    ("reward", "rewarded"),
    [
        (0.0, {"seldon_api_model_feedback": 1, "seldon_api_model_feedback_reward": 0}),
        (2.5, {"reward_sum positive": 2.5, "seldon_api_model_feedback": 1,
               "seldon_api_model_feedback_reward": 2.5}),
        (-2.5, {"reward_sum negative": 2.5}),
    ],
)  # fmt: skip
def test_feedback_adds_its_pairs_and_its_reward(reward: float, rewarded: dict[str, float]) -> None:
    """A counter can't fall, so a negative reward has a sum of its own, and Seldon's has none."""
    pairs = [("bad", "good"), ("good", "good"), ("bad", "good")]
    expected = {"feedback bad good": 2, "feedback good good": 1}
    expected |= {"answered_requests": 1, "rewards": 1}
    assert expected | rewarded == by_name(metrics.feedback_metrics(pairs, reward))


def test_feedback_on_values_adds_their_distances() -> None:
    """Absolute and squared, of which follow the usual means."""
    found = by_name(metrics.feedback_metrics([], -1, [-3.0, 1.0]))
    expected = {"feedback_values": 2, "feedback_absolute_error": 4, "feedback_squared_error": 10}
    assert expected | {"answered_requests": 1, "rewards": 1, "reward_sum negative": 1} == found


@pytest.mark.parametrize(("classes", "pairs"), [(2, 4), (12, 144), (13, 0)])
def test_every_known_series_begins_at_zero(classes: int, pairs: int) -> None:
    """A rate can be taken from the first event on; a large table of truths is left out."""
    known = metrics.initial_metrics([f"label{i}" for i in range(classes)])
    assert {0} == {metric["value"] for each in known.values() for metric in each}
    names = {method: [metric["key"] for metric in each] for method, each in known.items()}
    assert classes == names["predict"].count("sentiment_texts")
    assert pairs == names["feedback"].count("sentiment_feedback")
    assert {
        d.name for d in metrics.DEFINITIONS if classes < 13 or d.name != "sentiment_feedback"
    } == ({name for each in names.values() for name in each})
    texts = {d.name for d in metrics.DEFINITIONS if d.type == "histogram"}
    timers = {m["key"] for each in known.values() for m in each if m["type"] == "TIMER"}
    assert texts == timers
