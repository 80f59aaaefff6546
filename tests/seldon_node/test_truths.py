"""Feedback of models with several labels a text, or with values: what is counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format
from seldon_core.proto import prediction_pb2

from roberta_sentiment.errors import FeedbackError
from roberta_sentiment.model.heads import Head
from roberta_sentiment.predictions import Predictions, Work
from roberta_sentiment.serving import metrics
from roberta_sentiment.settings import Settings
from seldon_node.feedback import Feedback, parse
from seldon_node.truths import NONE, reader_of

LABELS = ("anger", "joy", "love")
SEVERAL, VALUES = Head("sigmoid"), Head("identity")
WORK = Work(1, 3, 0, 0.0, 0.0, 0.0)


def read(
    head: Head, truth: Any, response: Any = None, labels: tuple[str, ...] = LABELS
) -> Feedback:
    message = prediction_pb2.Feedback()
    content: dict[str, Any] = {"request": {"strData": "a film"}, "truth": truth}
    content |= {} if response is None else {"response": response}
    json_format.ParseDict(content, message)
    reader = reader_of(head, labels)
    logits = np.array([[-2.0, 3.0, 1.0][: len(labels)]], np.float32)
    predictions = Predictions(labels, logits, [3], [], WORK, head)
    return parse(message, labels, "1", Settings(), lambda _: reader.predicted(predictions), reader)


@pytest.mark.parametrize(
    ("truth", "pairs"),
    [
        pytest.param({"strData": "joy"}, [("joy", "joy"), (NONE, "love")], id="one label"),
        pytest.param({"data": {"ndarray": [1]}}, [("joy", "joy"), (NONE, "love")], id="index"),
        pytest.param(
            {"jsonData": [["joy", "love"]]}, [("joy", "joy"), ("love", "love")], id="labels"
        ),
        pytest.param(
            {"data": {"ndarray": [[1, 1, 0]]}},
            [("anger", NONE), ("joy", "joy"), (NONE, "love")],
            id="zeros and ones",
        ),
        pytest.param(
            {"data": {"names": ["love", "anger", "joy"], "ndarray": [[1, 0, 1]]}},
            [("joy", "joy"), ("love", "love")],
            id="named columns",
        ),
        pytest.param(
            {"data": {"ndarray": [[1, 2]]}}, [("joy", "joy"), ("love", "love")], id="indices"
        ),
        pytest.param(
            {"jsonData": [[2, 0]]},
            [("anger", NONE), (NONE, "joy"), ("love", "love")],
            id="indices in any order",
        ),
        pytest.param(
            {"data": {"tensor": {"shape": [1], "values": [2]}}},
            [(NONE, "joy"), ("love", "love")],
            id="tensor of an index",
        ),
        pytest.param(
            {"data": {"tensor": {"shape": [1, 1], "values": [0]}}},
            [("anger", NONE), (NONE, "joy"), (NONE, "love")],
            id="row of an index",
        ),
        pytest.param({"jsonData": [[]]}, [(NONE, "joy"), (NONE, "love")], id="no label"),
        pytest.param(
            {"data": {"tensor": {"shape": [1, 3], "values": [0, 1, 1]}}},
            [("joy", "joy"), ("love", "love")],
            id="tensor",
        ),
    ],
)
def test_each_label_of_either_is_counted_once(truth: Any, pairs: list[tuple[str, str]]) -> None:
    """Hits, misses and false alarms of each label can be read from the table."""
    assert pairs == read(SEVERAL, truth).pairs


@pytest.mark.parametrize(("given", "truth"), [([1], "yes"), ([0], NONE), (1, "yes"), (0, NONE)])
def test_the_truth_of_one_label_is_yes_or_no(given: Any, truth: str) -> None:
    """A row of one column is a row: 0 says that the text has not the only label there is."""
    response = {"data": {"names": ["yes"], "ndarray": [[0.2]]}}
    found = read(SEVERAL, {"data": {"ndarray": [given]}}, response, labels=("yes",))
    assert [(truth, NONE)] == found.pairs


def test_no_predicted_and_no_true_label_is_a_hit() -> None:
    """A text without any label is common, and right."""
    response = {"data": {"names": list(LABELS), "ndarray": [[0.1, 0.2, 0.4]]}}
    assert [(NONE, NONE)] == read(SEVERAL, {"jsonData": [[]]}, response).pairs


@pytest.mark.parametrize(
    "response",
    [
        {"data": {"names": ["love", "joy", "anger"], "ndarray": [[0.9, 0.2, 0.5]]}},
        {"jsonData": {"predictions": [{"label": "love", "labels": ["anger", "love"]}]}},
    ],
)
def test_the_answer_that_was_given_counts(response: Any) -> None:
    """Not what the model would say today; from 0.5 on a label is one."""
    assert [("anger", "anger"), (NONE, "love")] == read(
        SEVERAL, {"jsonData": [["anger"]]}, response
    ).pairs


@pytest.mark.parametrize(
    ("truth", "errors"),
    [
        ({"data": {"ndarray": [4.5]}}, [-6.5]),
        ({"data": {"ndarray": [[4.5]]}}, [-6.5]),
        ({"data": {"tensor": {"shape": [1], "values": [1]}}}, [-3]),
        ({"strData": "-2"}, [0]),
    ],
)
def test_a_value_is_compared_as_a_number(truth: Any, errors: list[float]) -> None:
    """A rating is near or far, not right or wrong."""
    found = read(VALUES, truth, labels=("stars",))
    assert ([], errors) == (found.pairs, list(found.errors))


def test_several_values_are_compared_by_name() -> None:
    """Columns may come in another order."""
    response = {"data": {"names": ["love", "joy", "anger"], "ndarray": [[3, 2, 1]]}}
    found = read(VALUES, {"data": {"ndarray": [[1, 1, 1]]}}, response)
    assert [0, 1, 2] == list(found.errors)
    entry = {"scores": {"love": 3, "anger": 1, "joy": 2}}
    answered = {"jsonData": {"predictions": [entry]}}
    assert [0, 1, 2] == list(read(VALUES, {"data": {"ndarray": [[1, 1, 1]]}}, answered).errors)


@pytest.mark.parametrize(
    ("head", "truth"),
    [
        (SEVERAL, {"strData": "hate"}),
        (SEVERAL, {"data": {"ndarray": [[1, 0.5, 0]]}}),
        (SEVERAL, {"data": {"ndarray": [3]}}),
        (SEVERAL, {"jsonData": [[True, False, True]]}),
        (SEVERAL, {"jsonData": [[1, 1]]}),
        (SEVERAL, {"jsonData": [[0, 0, 1, 0]]}),
        (SEVERAL, {"jsonData": [[0, 3]]}),
        (SEVERAL, {"jsonData": [["joy", 2]]}),
        (SEVERAL, {"jsonData": [[[0, 1]]]}),
        (SEVERAL, {"jsonData": [None]}),
        (VALUES, {"jsonData": [[True, False, True]]}),
        (VALUES, {"strData": "good"}),
        (VALUES, {"strData": "nan"}),
        (VALUES, {"data": {"ndarray": [[1, 2]]}}),
    ],
)
def test_a_truth_of_another_kind_is_refused(head: Head, truth: Any) -> None:
    """The sentence says what is needed."""
    with pytest.raises(FeedbackError, match="needed") as caught:
        read(head, truth)
    assert len(caught.value.message) <= 300


@pytest.mark.parametrize(
    ("head", "entry"),
    [
        pytest.param(SEVERAL, {"labels": "joy"}, id="one label"),
        pytest.param(SEVERAL, {"labels": ["joy", "hate"]}, id="unknown label"),
        pytest.param(SEVERAL, {}, id="no labels"),
        pytest.param(VALUES, {"scores": [1, 2, 3]}, id="a list of values"),
        pytest.param(VALUES, {"scores": {"anger": 1, "joy": 2}}, id="a value too few"),
        pytest.param(VALUES, {"scores": {"anger": 1, "joy": 2, "love": "3"}}, id="a word"),
        pytest.param(VALUES, {"scores": {"anger": 1, "joy": 2, "love": True}}, id="a boolean"),
    ],
)
def test_an_answer_of_another_kind_is_refused(head: Head, entry: dict[str, Any]) -> None:
    """What this model never answers was not its answer."""
    truth = {"data": {"ndarray": [[1, 1, 1]]}}
    with pytest.raises(FeedbackError, match="must hold predictions as this model gives them"):
        read(head, truth, {"jsonData": {"predictions": [entry]}})


def test_the_counts_of_a_regression_give_its_mean_errors() -> None:
    """Number, distances and their squares: mean and root mean square follow."""
    counted = {m["key"]: m["value"] for m in metrics.feedback_metrics([], 0, [-3.0, 1.0])}
    assert (2, 4, 10) == tuple(
        counted[f"sentiment_feedback_{name}"]
        for name in ("values", "absolute_error", "squared_error")
    )
    assert "sentiment_feedback" not in counted
