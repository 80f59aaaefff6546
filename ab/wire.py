"""Seldon messages: the request, the answer read, the feedback built."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from roberta_sentiment.label_names import label_named

Message = dict[str, Any]

_KEPT_TAGS = (
    *("model_name", "model_version", "precision"),
    *("served_as", "served_version", "x-seldon-route"),
)


class BadAnswer(Exception):  # noqa: N818  a finding, not an error of ours
    """An answer that can't be counted; the message says why."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """The answer of a model to one text.

    Attributes:
        names: labels, in the order of the scores.
        scores: probability by label.
        path: node name to image, `meta.requestPath`.
        routing: router name to child index, `meta.routing`.
        tags: model name, version and precision, where the model gives them; and in V2 the name and
            version that the server knows the model by, and the header `x-seldon-route`.
        truncated: whether the model saw only a part of the text; None where it does not say.
    """

    names: tuple[str, ...]
    scores: tuple[float, ...]
    path: Mapping[str, str]
    routing: Mapping[str, int]
    tags: Mapping[str, str]
    truncated: bool | None = None

    @property
    def predicted(self) -> str:
        """Label with the highest score, the first of equals."""
        return self.names[max(range(len(self.scores)), key=self.scores.__getitem__)]

    @property
    def recorded(self) -> dict[str, Any]:
        """Its fields in a line of a record, see `ab.events.Request`."""
        return {
            "predicted": self.predicted,
            "scores": dict(zip(self.names, self.scores, strict=True)),
            **{name: getattr(self, name) for name in ("routing", "path", "tags", "truncated")},
        }


def build_request(text: str, puid: str, tags: Mapping[str, str] | None = None) -> Message:
    """A SeldonMessage with one text.

    `data.ndarray`, because the bandit routers that Seldon ships count the rows of `data`.
    """
    meta: Message = {"puid": puid, **({"tags": dict(tags)} if tags else {})}
    return {"data": {"ndarray": [text]}, "meta": meta}


def read_answer(
    message: Mapping[str, Any],
    labels: Sequence[str],
    puid: str = "",
    label_map: Mapping[str, str] | None = None,
) -> Answer:
    """Read the answer to one text.

    Args:
        message: a SeldonMessage in its JSON form.
        labels: that the answer has to name, in any order.
        puid: of the request; an answer that carries another one is not ours.
        label_map: what other names stand for.

    Raises:
        BadAnswer: it is not one row of probabilities for these labels. Those of a multi-label
            model, whose tag `head` says sigmoid, need not sum to 1.
    """
    origin = read_origin(message, puid)
    data = _mapping(message.get("data"))
    names = data.get("names", list(labels) if "best" in data else None)
    meant = names if isinstance(names, list) else []
    meant = [label_named(str(name), labels, label_map or {}) or "" for name in meant]
    if sorted(meant) != sorted(labels):
        raise BadAnswer(
            f"data.names is {str(names)[:80]}, not {', '.join(labels)}; --label-map FROM=TO,... "
            "says what other names mean"
        )
    tags = _mapping(_mapping(message.get("meta")).get("tags"))
    head, truncated = tags.get("head"), tags.get("truncated")
    if head == "identity":
        raise BadAnswer("the model gives values and chooses no label")
    scores = _scores(data, len(meant), sum_to_one=head != "sigmoid")
    cut = bool(truncated) if isinstance(truncated, list) else None
    answer = dataclasses.replace(origin, names=tuple(meant), scores=scores, truncated=cut)
    best = label_named(str(data.get("best")), labels, label_map or {})
    if data.get("best") is not None and best != answer.predicted:
        raise BadAnswer(
            f"the label is {data['best']!r}, but the highest score is that of "
            f"{answer.predicted!r}: --labels must be in the order of the model's outputs"
        )
    return answer


def read_origin(message: Mapping[str, Any], puid: str = "") -> Answer:
    """What the `meta` of an answer or of an error says about where it comes from.

    Args:
        message: a SeldonMessage in its JSON form.
        puid: of the request.

    Returns:
        An answer without names and scores.

    Raises:
        BadAnswer: it belongs to another request, or its routing can't be read.
    """
    meta = _mapping(message.get("meta"))
    if puid and meta.get("puid", puid) != puid:
        raise BadAnswer("it answers another request: its meta.puid differs")
    return Answer(
        names=(),
        scores=(),
        path={str(k): str(v) for k, v in _mapping(meta.get("requestPath")).items()},
        routing=_routing(meta),
        tags={k: str(v) for k, v in _mapping(meta.get("tags")).items() if k in _KEPT_TAGS},
    )


def build_feedback(
    answer: Answer,
    truth: str,
    reward: float,
    text: str | None,
    routing: Mapping[str, int],
    puid: str,
) -> Message:
    """Feedback on one answer.

    Only fields that SeldonMessage knows are sent: the wrapper refuses any other one.

    Args:
        answer: it goes back with its routing, by which the executor finds the model.
        truth: label.
        reward: Seldon's own counters skip a reward of 0.
        text: of the request; None when it is not known any more.
        routing: sent instead of that of the answer.
        puid: of the request, by which a log joins the feedback to its prediction.
    """
    response = {
        "data": {"names": list(answer.names), "ndarray": [list(answer.scores)]},
        "meta": {
            "puid": puid,
            "routing": dict(routing),
            "requestPath": dict(answer.path),
            "tags": dict(answer.tags),
        },
    }
    request: Message = {"meta": {"puid": puid}}
    if text is not None:
        request["data"] = {"ndarray": [text]}
    return {
        "request": request,
        "response": response,
        "reward": reward,
        "truth": {"data": {"ndarray": [truth]}},
    }


def puid_of(message: Mapping[str, Any]) -> str:
    """The puid of a request, or of the request that a feedback is about; empty without one."""
    meta = _mapping(_mapping(message.get("request", message)).get("meta"))
    return str(meta.get("puid", ""))


def _scores(data: Mapping[str, Any], classes: int, *, sum_to_one: bool) -> tuple[float, ...]:
    row = data.get("ndarray")
    if row is None:
        row = [_mapping(data.get("tensor")).get("values")]
    if not isinstance(row, list) or len(row) != 1 or not isinstance(row[0], list):
        raise BadAnswer("data does not hold one row of scores")
    scores = row[0]
    are_probabilities = (type(s) in (int, float) and -1e-6 <= s <= 1.0001 for s in scores)
    if len(scores) != classes or not all(are_probabilities):
        raise BadAnswer(f"the scores are not {classes} probabilities")
    if sum_to_one and not math.isclose(sum(scores), 1.0, abs_tol=0.01):
        raise BadAnswer(f"the scores sum to {sum(scores):.3f}, not to 1")
    return tuple(float(score) for score in scores)


def _routing(meta: Mapping[str, Any]) -> dict[str, int]:
    routing = _mapping(meta.get("routing"))
    if not all(isinstance(index, (int, float)) for index in routing.values()):
        raise BadAnswer("meta.routing holds something other than numbers")
    return {str(node): int(index) for node, index in routing.items()}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
