"""Which model gave an answer."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

from ab.errors import DataError
from ab.transport import Reply
from ab.wire import Answer, BadAnswer, read_origin

_NODE_PORT = re.compile(r'^Post "http://[^/"]+:(\d+)/|dial tcp \S+:(\d+): ')
"""Where the executor names the node that it could not reach, over REST and gRPC."""


@dataclasses.dataclass(frozen=True)
class Model:
    """A model under test.

    Attributes:
        name: of its graph node, or its tag `model_name`.
        share: declared share of the traffic, relative to the others.
    """

    name: str
    share: float


@dataclasses.dataclass(frozen=True)
class Attribution:
    """The finding.

    Attributes:
        model: name; None when the answer does not tell, or contradicts itself.
        by: what told it: `requestPath`, `routing`, `tags` or `endpoint`; or why nothing could.
    """

    model: str | None
    by: str


def parse_models(given: Sequence[str]) -> tuple[Model, ...]:
    """Read NAME or NAME=SHARE; without any share all are equal.

    Raises:
        DataError: a share is no positive number, only some have one, or a name occurs twice.
    """
    models = []
    for item in given:
        name, equals, share = item.partition("=")
        try:
            models.append(Model(name, float(share) if equals else 1.0))
        except ValueError:
            raise DataError(f"{item!r}: the share is no number") from None
    if len({model.name for model in models}) < len(models) or not all(m.name for m in models):
        raise DataError("every model needs a name of its own")
    if len({"=" in item for item in given}) > 1:
        raise DataError("give a share to every model or to none")
    if not all(0 < model.share < float("inf") for model in models):
        raise DataError("a share must be a positive number")
    total = sum(model.share for model in models)
    return tuple(Model(model.name, model.share / total) for model in models)


def attribute(answer: Answer, models: Sequence[Model], router: str | None = None) -> Attribution:
    """Find the model by requestPath, else by routing, else by tags; all that tell must agree.

    Args:
        answer: what came back.
        models: in the order of the graph's children.
        router: the node whose index counts; None takes the only one that chose a child.
    """
    names = [model.name for model in models]
    votes = {
        "requestPath": [name for name in names if name in answer.path],
        "routing": _routed(answer, names, router),
        "tags": [name for name in names if name == answer.tags.get("model_name")],
    }
    found = {name for vote in votes.values() for name in vote}
    if len(found) > 1:
        told = "; ".join(f"{by} says {' and '.join(vote)}" for by, vote in votes.items() if vote)
        return Attribution(None, f"contradiction: {told}")
    if found - set(names):
        return Attribution(None, f"routing says {found.pop()}, which is no declared model")
    for by, vote in votes.items():
        if vote and vote[0] in names:
            return Attribution(vote[0], by)
    return Attribution(None, "nothing in the answer names a declared model")


def blame(
    reply: Reply,
    models: Sequence[Model],
    router: str | None,
    ports: Mapping[int, str],
    puid: str,
) -> str | None:
    """The model that a failed try had been given to; None where nothing tells.

    Args:
        reply: the end of the try.
        models: in the order of the graph's children.
        router: the node whose index counts.
        ports: model by the port of its node, as the executor's own errors name it.
        puid: of the try.
    """
    if len(models) == 1:
        return models[0].name
    try:
        found = attribute(read_origin(reply.message, puid), models, router).model
    except BadAnswer:
        return None
    if found is None and (named := _NODE_PORT.search(reply.detail)):
        return ports.get(int(named[1] or named[2]))
    return found


def _routed(answer: Answer, names: Sequence[str], router: str | None) -> list[str]:
    chosen = {
        node: index
        for node, index in answer.routing.items()
        if index >= 0 and (router is None or node == router)
    }
    if len(chosen) != 1:
        return []
    index = next(iter(chosen.values()))
    return [names[index]] if index < len(names) else [f"child {index}"]
