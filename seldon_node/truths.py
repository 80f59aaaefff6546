"""What a truth and a prediction are for each head, and what the two of them add to the counts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from roberta_sentiment.errors import FeedbackError
from roberta_sentiment.model.heads import THRESHOLD, Head
from roberta_sentiment.predictions import Predictions

NONE = "(none)"
"""Stands for the label that truth or prediction lacks."""

Pair = tuple[str, str]


class Reader(Protocol):
    """Reads truths and predictions; both are of the same, opaque type."""

    def truth(self, position: int, item: object, names: Sequence[str]) -> Any:
        """The truth of a text.

        Raises:
            FeedbackError: it is not a truth.
        """
        ...

    def scored(self, row: Sequence[float], names: Sequence[str]) -> Any:
        """The prediction that a row of scores is, with the names of its columns."""
        ...

    def described(self, entry: Mapping[str, Any]) -> Any:
        """The prediction in an entry of `jsonData.predictions`, None if there is none."""
        ...

    def predicted(self, predictions: Predictions) -> list[Any]:
        """The predictions of a model that was asked."""
        ...

    def pairs(self, truth: Any, prediction: Any) -> list[Pair]:
        """Labels of truth and prediction to count."""
        ...

    def errors(self, truth: Any, prediction: Any) -> list[float]:
        """Prediction minus truth of each value."""
        ...


def reader_of(head: Head, labels: Sequence[str]) -> Reader:
    """The reader for a model."""
    if head.is_regression:
        return Values(labels)
    return SeveralLabels(labels) if head.multi_label else OneLabel(labels)


class OneLabel:
    """A text has one label."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = labels

    def truth(self, position: int, item: object, names: Sequence[str]) -> str:
        """A label, its index or a one-hot row."""
        labels = self._labels
        if isinstance(item, list) and len(item) == 1:
            item = item[0]
        if isinstance(item, str) and item in labels:
            return item
        index = _index(item, len(labels))
        if index is not None:
            is_row_with_names = isinstance(item, list) and set(names) == set(labels)
            return names[index] if is_row_with_names else labels[index]
        raise FeedbackError(
            f"truth {position} is {str(item)[:60]!r}; one of {', '.join(labels)}, "
            f"an index from 0 to {len(labels) - 1} or a one-hot row is needed; the parameter "
            "label_map names others"
        )

    def scored(self, row: Sequence[float], names: Sequence[str]) -> str:
        """The label with the highest score."""
        return names[max(range(len(names)), key=row.__getitem__)]

    def described(self, entry: Mapping[str, Any]) -> str | None:
        """The label of an entry."""
        label = entry.get("label")
        return label if label in self._labels else None

    def predicted(self, predictions: Predictions) -> list[str]:
        """The label with the highest score of each text."""
        return predictions.best

    def pairs(self, truth: str, prediction: str) -> list[Pair]:
        """The two labels."""
        return [(truth, prediction)]

    def errors(self, truth: str, prediction: str) -> list[float]:
        """None: labels are right or wrong."""
        return []


class SeveralLabels:
    """A text has any number of labels."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = labels

    def truth(self, position: int, item: object, names: Sequence[str]) -> frozenset[str]:
        """A label or its index, a list of either, or a row of zeros and ones."""
        labels = self._labels
        columns = names if set(names) == set(labels) else labels
        items = item if isinstance(item, list) else [item]
        if all(isinstance(value, str) and value in labels for value in items):
            return frozenset(items)
        if len(items) == len(labels) and all(_is_number(v) and v in (0, 1) for v in items):
            return frozenset(name for name, value in zip(columns, items, strict=True) if value)
        indices = [_index(value, len(labels)) for value in items if not isinstance(value, list)]
        known = {labels[index] for index in indices if index is not None}
        if len(known) == len(items):
            return frozenset(known)
        raise FeedbackError(
            f"truth {position} is {str(item)[:60]!r}; a list of labels ({', '.join(labels)[:100]}) "
            f"or of their indices, or a row of {len(labels)} zeros and ones is needed; the "
            "parameter label_map names others"
        )

    def scored(self, row: Sequence[float], names: Sequence[str]) -> frozenset[str]:
        """The labels whose scores reach the threshold."""
        return frozenset(name for name, value in zip(names, row, strict=True) if value >= THRESHOLD)

    def described(self, entry: Mapping[str, Any]) -> frozenset[str] | None:
        """The labels of an entry."""
        found = entry.get("labels")
        if not isinstance(found, list) or not all(name in self._labels for name in found):
            return None
        return frozenset(found)

    def predicted(self, predictions: Predictions) -> list[frozenset[str]]:
        """The labels of each text."""
        return [frozenset(chosen) for chosen in predictions.chosen]

    def pairs(self, truth: frozenset[str], prediction: frozenset[str]) -> list[Pair]:
        """Each label of either once; the side that lacks it is `NONE`."""
        either = [name for name in self._labels if name in truth | prediction]
        found = [
            (name if name in truth else NONE, name if name in prediction else NONE)
            for name in either
        ]
        return found or [(NONE, NONE)]

    def errors(self, truth: frozenset[str], prediction: frozenset[str]) -> list[float]:
        """None: labels are right or wrong."""
        return []


class Values:
    """A text has a number for each of the model's outputs."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = labels

    def truth(self, position: int, item: object, names: Sequence[str]) -> tuple[float, ...]:
        """A number, or a row of them."""
        items = item if isinstance(item, list) else [item]
        numbers = [_number(value) for value in items]
        if len(items) != len(self._labels) or any(number is None for number in numbers):
            raise FeedbackError(
                f"truth {position} is {str(item)[:60]!r}; {len(self._labels)} finite numbers "
                f"({', '.join(self._labels)[:100]}) are needed"
            )
        return self._ordered([float(number or 0) for number in numbers], names)

    def scored(self, row: Sequence[float], names: Sequence[str]) -> tuple[float, ...]:
        """The values of a row."""
        return self._ordered(row, names)

    def described(self, entry: Mapping[str, Any]) -> tuple[float, ...] | None:
        """The values of an entry."""
        scores = entry.get("scores")
        if not isinstance(scores, dict) or not all(_is_number(v) for v in scores.values()):
            return None
        if set(scores) != set(self._labels):
            return None
        return tuple(float(scores[name]) for name in self._labels)

    def predicted(self, predictions: Predictions) -> list[tuple[float, ...]]:
        """The values of each text."""
        return [tuple(row) for row in predictions.probabilities.tolist()]

    def pairs(self, truth: tuple[float, ...], prediction: tuple[float, ...]) -> list[Pair]:
        """None: values are nearer or farther."""
        return []

    def errors(self, truth: tuple[float, ...], prediction: tuple[float, ...]) -> list[float]:
        """Prediction minus truth of each value."""
        return [given - true for given, true in zip(prediction, truth, strict=True)]

    def _ordered(self, row: Sequence[float], names: Sequence[str]) -> tuple[float, ...]:
        columns = list(names) if set(names) == set(self._labels) else list(self._labels)
        return tuple(float(row[columns.index(name)]) for name in self._labels)


def _index(item: object, classes: int) -> int | None:
    """Class of an index or a one-hot row, None if it is neither."""
    if isinstance(item, list):
        hot = [i for i, value in enumerate(item) if value == 1]
        zeros = sum(value == 0 for value in item)
        return hot[0] if len(item) == classes and len(hot) == 1 and zeros == classes - 1 else None
    if isinstance(item, (int, float)) and not isinstance(item, bool) and item in range(classes):
        return int(item)
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(value: object) -> float | None:
    """A finite number, given as such or as text."""
    try:
        number = float(value) if _is_number(value) or isinstance(value, str) else math.nan  # type: ignore[arg-type]
    except ValueError:
        return None
    return number if math.isfinite(number) else None
