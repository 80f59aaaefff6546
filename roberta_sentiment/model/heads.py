"""Heads: how the numbers that a graph gives become scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from roberta_sentiment.errors import ArtifactError, SettingsError
from roberta_sentiment.settings import HeadSetting

Scores = npt.NDArray[np.float64]
Activation = Literal["softmax", "sigmoid", "identity"]

THRESHOLD = 0.5
"""A multi-label text has the labels whose scores reach this."""

_PROBLEMS: Mapping[str, Activation] = {
    "single_label_classification": "softmax",
    "multi_label_classification": "sigmoid",
    "regression": "identity",
}
_WAY_OUT = "set the parameter head to softmax, sigmoid, identity or probabilities"


@dataclasses.dataclass(frozen=True)
class Head:
    """How outputs become scores.

    Attributes:
        activation: softmax, one label a text; sigmoid, each label by itself; identity, values of a
            regression.
        in_graph: whether the graph has applied it already, so that its outputs are the scores.
    """

    activation: Activation = "softmax"
    in_graph: bool = False

    @property
    def name(self) -> str:
        """As in the setting `head`."""
        return "probabilities" if self.in_graph else self.activation

    @property
    def description(self) -> str:
        """For `/metadata`."""
        return f"{self.name} ({self.activation} in the graph)" if self.in_graph else self.name

    @property
    def multi_label(self) -> bool:
        """Whether a text may have several labels or none."""
        return self.activation == "sigmoid"

    @property
    def is_regression(self) -> bool:
        """Whether the scores are values and not probabilities."""
        return self.activation == "identity"

    def scores(self, outputs: npt.NDArray[np.float32]) -> Scores:
        """Scores of outputs.

        Args:
            outputs: (n, k) float32, as the graph gave them.

        Returns:
            (n, k) float64: probabilities, or the values of a regression.
        """
        if self.in_graph or self.is_regression:
            return outputs.astype(np.float64)
        return sigmoid(outputs) if self.multi_label else softmax(outputs)


def softmax(logits: npt.NDArray[np.float32]) -> Scores:
    """Probabilities of logits.

    Args:
        logits: (n, k) float32.

    Returns:
        (n, k) float64; each row sums to 1. Computed in float64, less the row's maximum.
    """
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    probabilities: Scores = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def sigmoid(logits: npt.NDArray[np.float32]) -> Scores:
    """1 / (1 + exp(-x)) of (n, k) float32, in float64 and without overflow."""
    exact = logits.astype(np.float64)
    small = np.exp(-np.abs(exact))
    return np.where(exact >= 0, 1 / (1 + small), small / (1 + small))


def decide_head(
    setting: HeadSetting,
    config: Mapping[str, Any],
    classes: int,
    found: Activation | None,
) -> Head:
    """The head of a model.

    Args:
        setting: of the user; "auto" leaves it to the others.
        config: `config.json`.
        classes: number of labels.
        found: the activation that the graph ends in; None if in none.

    Raises:
        ArtifactError: configuration and graph contradict each other.
        SettingsError: the setting contradicts the graph.
    """
    if found == "softmax" and classes == 1:
        raise ArtifactError(
            "the graph ends in a softmax over one label, which is always 1; export the model "
            "without it"
        )
    if setting == "auto":
        return _read_head(config, classes, found)
    if setting == "probabilities":
        several = config.get("problem_type") == "multi_label_classification"
        usual: Activation = "sigmoid" if several or classes == 1 else "softmax"
        return Head(found or usual, in_graph=True)
    if found and setting != "identity":
        raise SettingsError(
            f"head is {setting}, but the graph ends in a {found}, and a second activation would "
            "falsify its scores; set it to auto or probabilities"
        )
    if setting == "softmax" and classes == 1:
        raise SettingsError(
            "head is softmax, but the model has one label, whose softmax is always 1; set it to "
            "sigmoid (a probability) or identity (a value)"
        )
    return Head(setting)


def _read_head(config: Mapping[str, Any], classes: int, found: Activation | None) -> Head:
    asked = _asked_activation(config, classes)
    problem = config.get("problem_type")
    if found is None:
        if asked == "softmax" and classes == 1:
            raise ArtifactError(
                f"config.json: problem_type is {problem!r} with one label, whose softmax is always "
                "1; set the parameter head to sigmoid (a probability) or identity (a value)"
            )
        return Head(asked or ("identity" if classes == 1 else "softmax"))
    if found == "sigmoid" and asked == "identity":
        return Head("identity", in_graph=True)
    if asked in (None, found) or (found == "sigmoid" and classes == 1):
        return Head(found, in_graph=True)
    raise ArtifactError(
        f"config.json: problem_type is {problem!r}, but the graph ends in a {found}; if its scores "
        "are right, set the parameter head to probabilities"
    )


def _asked_activation(config: Mapping[str, Any], classes: int) -> Activation | None:
    """What problem_type asks for; None if it says nothing."""
    problem = config.get("problem_type")
    if problem is None:
        return None
    if not isinstance(problem, str) or problem not in _PROBLEMS:
        raise ArtifactError(
            f"config.json: problem_type is {str(problem)[:60]!r}; known are "
            f"{', '.join(_PROBLEMS)}; correct it, or {_WAY_OUT}"
        )
    return _PROBLEMS[problem]
