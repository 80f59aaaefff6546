"""Feedback: which truth belongs to which prediction."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence, Sized
from typing import Any

from seldon_core.proto import prediction_pb2

from roberta_sentiment.errors import FeedbackError, RequestError
from roberta_sentiment.label_names import label_named, parse_label_map
from roberta_sentiment.serving.wording import brief
from roberta_sentiment.settings import Settings
from seldon_node import payload
from seldon_node.truths import OneLabel, Reader

LARGEST_REWARD = 1e6
"""A counter is a float64: after one reward of 1e16 it could no longer count ones."""


@dataclasses.dataclass(frozen=True)
class Feedback:
    """Feedback, checked.

    Attributes:
        pairs: labels of truth and prediction, empty without a truth.
        errors: prediction minus truth of each value of a regression.
        reward: as sent; the protocol does not distinguish 0 from none.
        other_model: how the answer shows that another model gave it; empty for one of this model.
    """

    pairs: list[tuple[str, str]]
    reward: float
    other_model: str = ""
    errors: Sequence[float] = ()


def parse(
    message: prediction_pb2.Feedback,
    labels: Sequence[str],
    version: str,
    settings: Settings,
    predict: Callable[[payload.Request], list[Any]],
    reader: Reader | None = None,
) -> Feedback:
    """Read and check feedback.

    Args:
        message: request, response, truth and reward.
        labels: names of the classes, in the order of the scores.
        version: of this model. Feedback on an answer with another version in its tags, or with
            other labels, belongs to another model and is not examined further.
        settings: the limits.
        predict: predictions of a request, asked when the feedback brings no response.
        reader: of truths and predictions; by default a text has one label.

    Raises:
        RequestError: the parts do not fit each other, or say nothing.
    """
    _check_reward(message.reward)
    reader = reader or OneLabel(labels)
    response = payload.to_python(message.response)
    label_map = parse_label_map(settings.label_map)
    names = [_own_names(name, labels, label_map) for name in _names(message.response, "response")]
    other_model = _other_version(response, version) or _other_labels(response, names, labels)
    if other_model:
        return Feedback([], message.reward, other_model)
    columns = [_own_names(name, labels, label_map) for name in _names(message.truth, "truth")]
    meant = _own_names(_values(payload.to_python(message.truth)), labels, label_map)
    truths = _truths(meant, columns, reader)
    request = _request(message, settings)
    if truths is None:
        if request is None and not message.reward:
            raise FeedbackError("the feedback is empty; send a truth, or a request with a reward")
        return Feedback([], message.reward)
    _check_count(truths, request, "texts")
    predictions = _predictions(response, names, labels, reader)
    if predictions is None:
        predictions = _ask(predict, request)
    _check_count(truths, predictions, "predictions")
    both = list(zip(truths, predictions, strict=True))
    pairs = [pair for truth, given in both for pair in reader.pairs(truth, given)]
    errors = [error for truth, given in both for error in reader.errors(truth, given)]
    return Feedback(pairs, message.reward, errors=errors)


def _ask(
    predict: Callable[[payload.Request], list[Any]], request: payload.Request | None
) -> list[Any]:
    if request is None:
        raise FeedbackError(
            "the feedback has a truth, but neither the request nor the response it is about"
        )
    return predict(request)


def _check_reward(reward: float) -> None:
    if not abs(reward) <= LARGEST_REWARD:
        raise FeedbackError(
            f"reward is {reward:g}; a number from -{LARGEST_REWARD:g} to {LARGEST_REWARD:g} is "
            "needed"
        )


def _check_count(truths: Sized, others: Sized | None, what: str) -> None:
    if others is not None and len(truths) != len(others):
        raise FeedbackError(f"{len(truths)} truths for {len(others)} {what}; send one for each")


def _other_version(response: Mapping[str, Any], version: str) -> str:
    answered = response["meta"].get("tags", {}).get("model_version", version)
    return "" if answered == version else f"version {answered}"


def _names(message: prediction_pb2.SeldonMessage, part: str) -> list[str]:
    """Names of the columns, empty if there are none.

    Raises:
        FeedbackError: two columns have one name.
    """
    names = list(message.data.names)
    if len(set(names)) < len(names):
        raise FeedbackError(f"{part}.data.names holds a name twice")
    return names


def _other_labels(response: Mapping[str, Any], names: Sequence[str], labels: Sequence[str]) -> str:
    """The labels of an answer that are none of this model's, in any order."""
    if names:
        return "" if set(names) == set(labels) else f"labels {', '.join(names)}"
    value = response.get("jsonData")
    predictions = value.get("predictions") if isinstance(value, dict) else None
    entries = predictions if isinstance(predictions, list) else []
    found = [entry.get("label") if isinstance(entry, dict) else None for entry in entries]
    given = [label for label in found if isinstance(label, str)]
    is_other = given and len(given) == len(found) and not set(given) & set(labels)
    return f"labels {', '.join(given)}" if is_other else ""


def _request(message: prediction_pb2.Feedback, settings: Settings) -> payload.Request | None:
    if message.request.WhichOneof("data_oneof") is None:
        return None
    try:
        return payload.parse(payload.to_python(message.request), settings)
    except RequestError as error:
        raise FeedbackError(f"request: {error.message}") from None


def _own_names[Value](value: Value, labels: Sequence[str], label_map: Mapping[str, str]) -> Value:
    """Names of labels as this model has them, in a list or lists too; other values as they are."""
    if isinstance(value, list):
        return [_own_names(item, labels, label_map) for item in value]  # type: ignore[return-value]
    known = label_named(value, labels, label_map) if isinstance(value, str) else None
    return value if known is None else known  # type: ignore[return-value]


def _truths(values: Any, names: Sequence[str], reader: Reader) -> list[Any] | None:
    """The truths in the values of `truth`."""
    if values is None:
        return None
    items = values if isinstance(values, list) else [values]
    if not items:
        raise FeedbackError("truth is an empty list")
    return [reader.truth(position, item, names) for position, item in enumerate(items)]


def _values(message: Mapping[str, Any]) -> Any:
    if "strData" in message:
        return message["strData"]
    if "jsonData" in message:
        return message["jsonData"]
    if "binData" in message:
        return message["binData"].decode("utf-8", "replace")
    data = message.get("data")
    if not data:
        return None
    if "ndarray" in data:
        return data["ndarray"]
    if data.get("tensor"):
        return _rows(data["tensor"]["shape"], data["tensor"]["values"])
    raise FeedbackError("truth.data must hold ndarray or tensor")


def _rows(shape: Sequence[int], values: list[float]) -> list[Any]:
    if len(shape) > 2 or math.prod(shape) != len(values) or not values:
        raise FeedbackError(
            f"truth.data.tensor has shape {brief(list(shape[:10]))} and {len(values)} "
            "values; [texts], [texts, 1] or [texts, classes] is needed"
        )
    width = shape[1] if len(shape) == 2 else 1
    return [values[i : i + width] for i in range(0, len(values), width)]


def _predictions(
    response: Mapping[str, Any], names: Sequence[str], labels: Sequence[str], reader: Reader
) -> list[Any] | None:
    """What the response predicted, None when there is no response."""
    if "jsonData" in response:
        return _described(response["jsonData"], labels, reader)
    data = response.get("data")
    if not data:
        return None
    rows = data.get("ndarray")
    if rows is None and data.get("tensor"):
        rows = _rows(data["tensor"]["shape"], data["tensor"]["values"])
    if not isinstance(rows, list) or not all(_is_score_row(row, len(labels)) for row in rows):
        raise FeedbackError(f"response.data must hold rows of {len(labels)} scores")
    return [reader.scored(row, names or labels) for row in rows]


def _described(value: object, labels: Sequence[str], reader: Reader) -> list[Any]:
    entries = value.get("predictions") if isinstance(value, dict) else None
    found = [
        reader.described(entry) if isinstance(entry, dict) else None
        for entry in (entries if isinstance(entries, list) else [None])
    ]
    if any(prediction is None for prediction in found):
        raise FeedbackError(
            "response.jsonData must hold predictions as this model gives them, each with a label "
            f"of {', '.join(labels)[:160]}"
        )
    return found


def _is_score_row(row: object, width: int) -> bool:
    return (
        isinstance(row, list)
        and len(row) == width
        and all(isinstance(value, (int, float)) for value in row)
    )
