"""Predictions: the labels and numbers that a text gets, for each head."""

from __future__ import annotations

import numpy as np
import pytest

from roberta_sentiment.model.heads import Head
from roberta_sentiment.predictions import Predictions, Work, choose

LABELS = ("anger", "joy", "love")
WORK = Work(1, 9, 0, 0.0, 0.0, 0.0)
LOGITS = [[0.0, -0.001, 2.0], [-3.0, -1.0, -2.0]]


def answer(head: Head, rows: list[list[float]] = LOGITS) -> Predictions:
    return Predictions(LABELS, np.array(rows, np.float32), [3, 3], [], WORK, head)


@pytest.mark.parametrize("head", [Head("softmax"), Head("identity"), Head("softmax", True)])
def test_one_label_is_the_highest(head: Head) -> None:
    """Every head but the multi-label one names one label a text."""
    assert ["love", "joy"] == answer(head).best
    assert [("love",), ("joy",)] == answer(head).chosen


@pytest.mark.parametrize("head", [Head("sigmoid"), Head("sigmoid", True)])
def test_several_labels_are_those_from_one_half_on(head: Head) -> None:
    """A logit of 0 is a score of 0.5, which counts; a text may have no label."""
    rows = [[0.5, 0.499, 0.9], [0.1, 0.4, 0.2]] if head.in_graph else LOGITS
    predictions = answer(head, rows)
    assert [("anger", "love"), ()] == predictions.chosen
    assert ["love", "joy"] == predictions.best
    assert predictions.chosen == choose(LABELS, predictions.probabilities)


def test_a_summary_has_labels_or_values() -> None:
    """Its best label, all it has, the best where it has none, or every value."""
    softmax, sigmoid = answer(Head("softmax")), answer(Head("sigmoid"))
    assert [("love", softmax.probabilities[0, 2])] == softmax.summary(0)
    assert [("anger", 0.5), ("love", sigmoid.probabilities[0, 2])] == sigmoid.summary(0)
    assert [("joy", sigmoid.probabilities[1, 1])] == sigmoid.summary(1)
    assert [("anger", -3.0), ("joy", -1.0), ("love", -2.0)] == answer(Head("identity")).summary(1)


def test_probabilities_are_those_of_the_head() -> None:
    """float64: rows sum to 1, or each score stands by itself, or nothing is done."""
    logits = np.array(LOGITS, np.float32).astype(np.float64)
    assert [1, 1] == pytest.approx(answer(Head("softmax")).probabilities.sum(axis=1), abs=1e-15)
    sigmoid = answer(Head("sigmoid")).probabilities
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), sigmoid, atol=1e-15)
    np.testing.assert_array_equal(logits, answer(Head("identity")).probabilities)
    np.testing.assert_array_equal(logits, answer(Head("softmax", True)).probabilities)
    assert np.float64 == answer(Head("softmax", True)).probabilities.dtype
