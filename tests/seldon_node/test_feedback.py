"""Feedback: which truth meets which prediction."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format
from seldon_core.proto import prediction_pb2

from roberta_sentiment.errors import FeedbackError
from roberta_sentiment.settings import Settings
from seldon_node.feedback import LARGEST_REWARD, Feedback, parse

LABELS = ("negative", "positive")
GOOD_FIRST = ["positive", "negative"]


def parsed(settings: Settings | None = None, **parts: Any) -> Feedback:
    """Feedback to a model that answers "negative" to everything."""
    message = json_format.ParseDict(parts, prediction_pb2.Feedback())
    settings = settings or Settings()
    return parse(message, LABELS, "v1", settings, lambda request: ["negative"] * len(request))


def rows(*values: Any, names: list[str] | None = None, kind: str = "ndarray") -> dict[str, Any]:
    """A message of rows, with names of its columns."""
    if kind == "tensor":
        data: Any = {
            "shape": [len(values), len(values[0])],
            "values": [value for row in values for value in row],
        }
    else:
        data = list(values)
    return {"data": {"names": names or [], kind: data}}


@pytest.mark.parametrize("kind", ["ndarray", "tensor"])
@pytest.mark.parametrize(
    ("names", "prediction"),
    [
        pytest.param(None, "positive", id="no names"),
        pytest.param(list(LABELS), "positive", id="own order"),
        pytest.param(GOOD_FIRST, "negative", id="other order"),
    ],
)
def test_scores_are_read_by_the_names_of_their_columns(
    kind: str, names: list[str] | None, prediction: str
) -> None:
    """A transformer may put the columns into another order; the counts must not change sides."""
    response = rows([0.2, 0.8], names=names, kind=kind)
    feedback = parsed(response=response, truth={"strData": "positive"})
    assert [("positive", prediction)] == feedback.pairs


@pytest.mark.parametrize("kind", ["ndarray", "tensor"])
def test_one_hot_truths_are_read_by_the_names_of_their_columns(kind: str) -> None:
    """They are rows of columns, too."""
    truth = rows([1, 0], names=GOOD_FIRST, kind=kind)
    assert [("positive", "positive")] == parsed(response=rows([0.2, 0.8]), truth=truth).pairs


def test_an_index_is_no_column() -> None:
    """It numbers the labels as the model's configuration does, whatever the columns are called."""
    truth = rows(1, names=GOOD_FIRST)
    assert [("positive", "positive")] == parsed(response=rows([0.2, 0.8]), truth=truth).pairs


@pytest.mark.parametrize(
    ("response", "shown"),
    [
        pytest.param(rows([0.2, 0.8], names=["t:0", "t:1"]), "labels t:0, t:1", id="names"),
        pytest.param(rows([0.1, 0.2, 0.7], names=["neg", "neu", "pos"]), "labels neg, neu, pos",
                     id="three classes"),
        pytest.param({"jsonData": {"predictions": [{"label": "joy"}]}}, "labels joy", id="json"),
        pytest.param({"meta": {"tags": {"model_version": "v0"}}}, "version v0", id="version"),
        pytest.param({"meta": {"tags": {"model_version": 7}}}, "version 7.0", id="number"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("truth", [{"strData": "joy"}, rows([0, 0, 1]), {}])
def test_feedback_about_another_model_is_looked_at_no_further(
    response: dict[str, Any], shown: str, truth: dict[str, Any]
) -> None:
    """Its truth is one of the other model's labels, which is no mistake of the caller's."""
    feedback = parsed(response=response, truth=truth, reward=1)
    assert ([], shown) == (feedback.pairs, feedback.other_model)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        pytest.param({"response": rows([0.1, 0.2, 0.7])}, "rows of 2 scores", id="width"),
        pytest.param(
            {"response": rows([1, 0], names=["positive"] * 2)}, "a name twice", id="twice"
        ),
        pytest.param(
            {"response": {"jsonData": {"predictions": [{"label": "joy"}, {"label": "positive"}]}}},
            "a label of negative, positive", id="mixed",
        ),
        pytest.param({"response": {"jsonData": {"predictions": 5}}}, "must hold", id="number"),
        pytest.param({"response": {"jsonData": {"predictions": [{}]}}}, "must hold", id="no label"),
        pytest.param(
            {"response": rows([0.2, 0.8]), "truth": rows([1, 1])}, "one-hot", id="two hot"
        ),
        pytest.param(
            {"response": rows([0.2, 0.8]), "truth": rows([1, 0.5])}, "one-hot", id="not zero"
        ),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(parts: dict[str, Any], words: str) -> None:
    """A wrong pair in the counts would be believed."""
    with pytest.raises(FeedbackError, match=words):
        parsed(**{"truth": {"strData": "positive"}, **parts})


def test_a_truth_without_response_is_compared_with_a_new_answer() -> None:
    """The request is enough."""
    assert [("positive", "negative")] == parsed(
        request={"strData": "good"}, truth={"strData": "positive"}
    ).pairs


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param({"reward": LARGEST_REWARD}, id="the largest"),
        pytest.param({"reward": -LARGEST_REWARD}, id="the least"),
        pytest.param({"request": {"strData": "good"}}, id="none, but a request"),
    ],
)
def test_a_reward_needs_no_truth(parts: dict[str, Any]) -> None:
    """An experiment rewards without one; in JSON a reward of 0 is the same as none."""
    assert Feedback([], parts.get("reward", 0.0)) == parsed(**parts)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        pytest.param({"reward": LARGEST_REWARD + 1}, "reward is 1e", id="too large"),
        pytest.param({"reward": "NaN"}, "reward is nan", id="no number"),
        pytest.param({}, "the feedback is empty", id="nothing"),
        pytest.param({"response": rows([0.2, 0.8])}, "the feedback is empty", id="response alone"),
        pytest.param({"truth": {"strData": "positive"}}, "neither the request nor", id="truth"),
    ],
)
def test_feedback_that_says_nothing_is_refused(parts: dict[str, Any], words: str) -> None:
    """Its sender believes that it was counted."""
    with pytest.raises(FeedbackError, match=words):
        parsed(**parts)


TWO = [{"label": "negative"}, {"label": "positive"}]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        pytest.param({"response": {"jsonData": {"predictions": TWO}}},
                     "1 truths for 2 predictions", id="predictions"),
        pytest.param({"request": {"jsonData": ["good", "bad"]}}, "1 truths for 2 texts",
                     id="texts"),
        pytest.param({"request": {"strData": "good"}, "truth": {"jsonData": []}}, "an empty list",
                     id="no truth"),
    ],
)  # fmt: skip
def test_each_text_has_its_truth(parts: dict[str, Any], words: str) -> None:
    """One too few would pair the truths with other texts."""
    with pytest.raises(FeedbackError, match=words):
        parsed(**{"truth": {"strData": "positive"}, **parts})


def test_truths_stand_in_the_order_of_the_predictions() -> None:
    """In any form of a label: its name, its index, or a list of one."""
    truth = {"jsonData": ["positive", 0, ["positive"], [1]]}
    response = {"jsonData": {"predictions": [*TWO, *TWO]}}
    assert [
        ("positive", "negative"), ("negative", "positive"),
        ("positive", "negative"), ("positive", "positive"),
    ] == parsed(response=response, truth=truth).pairs  # fmt: skip


@pytest.mark.parametrize(
    "truth", [[[1, 0, 0]], [[0, 0]], [[1, 1]], [2], [-1], [True], ["joy"], [None], [0.5], [[]]],
    ids=str,
)  # fmt: skip
def test_a_truth_that_is_no_class_is_refused(truth: Any) -> None:
    """Anything else would be counted as some class."""
    with pytest.raises(FeedbackError, match="one-hot row is needed"):
        parsed(request={"strData": "good"}, truth={"jsonData": truth})


@pytest.mark.parametrize("truth", ["POSITIVE", "LABEL_1", "good"])
def test_other_names_of_labels_are_known(truth: str) -> None:
    """In the truth and in the answer; case never matters, the rest is up to label_map."""
    settings = Settings(label_map="LABEL_0=negative,LABEL_1=positive,good=positive")
    response = rows([0.8, 0.2], names=["LABEL_1", "Negative"])
    found = parsed(settings, response=response, truth=rows([truth]))
    assert [("positive", "positive")] == found.pairs


def test_a_name_that_nothing_explains_is_refused_with_the_way_out() -> None:
    """The sentence names the parameter."""
    with pytest.raises(FeedbackError, match="the parameter label_map names others"):
        parsed(response=rows([0.8, 0.2]), truth={"strData": "good"})
