"""Which model gave an answer."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

from ab.transport.reply import Reply
from ab.wire import Answer, BadAnswer, read_origin
from roberta_sentiment.errors import DataError

_UNREACHABLE_PORT = re.compile(r'^Post "http://[^/"]+:(\d+)/|dial tcp \S+:(\d+): ')
"""The port of the node that the executor could not reach, in its error over REST and gRPC."""


@dataclasses.dataclass(frozen=True)
class Model:
    """A model under test.

    Attributes:
        name: of its graph node, or its tag `model_name`, or the name by which its V2 server knows
            it; each may be followed by `/VERSION`.
        share: declared share of the traffic, relative to the others.
    """

    name: str
    share: float


@dataclasses.dataclass(frozen=True)
class Attribution:
    """Which model gave an answer.

    Attributes:
        model: name; None when the answer does not say, or contradicts itself.
        by: what says it: `requestPath`, `routing`, `tags`, `server` (V2: model name and version) or
            `x-seldon-route`; or why nothing does.
    """

    model: str | None
    by: str


@dataclasses.dataclass(frozen=True)
class Graph:
    """What is known of the graph behind an endpoint.

    Attributes:
        models: in the order of the graph's children.
        router: the node that chooses; None takes the only one that chose a child.
        ports: model by the port of its node, as the executor's errors name it.
    """

    models: tuple[Model, ...]
    router: str | None = None
    ports: Mapping[int, str] = dataclasses.field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Of the models."""
        return [model.name for model in self.models]

    def attribute(self, answer: Answer) -> Attribution:
        """Find the model by the first of these that names one; they must not differ."""
        tags, route = answer.tags, answer.tags.get("x-seldon-route", "").strip(":")
        votes = {
            "requestPath": [name for name in self.names if name in answer.path],
            "routing": self._routed(answer),
            "tags": self._known(tags.get("model_name"), tags.get("model_version")),
            "server": self._known(tags.get("served_as"), tags.get("served_version")),
            "x-seldon-route": [
                name
                for each in route.split(":")
                for name in self._known(each, each.rpartition("_")[2])
            ],
        }
        found = {name for vote in votes.values() for name in vote}
        if len(found) > 1:
            says = "; ".join(f"{by} says {' and '.join(v)}" for by, v in votes.items() if v)
            return Attribution(None, f"contradiction: {says}")
        if found - set(self.names):
            return Attribution(None, f"routing says {found.pop()}, which is not a declared model")
        for by, vote in votes.items():
            if vote:
                return Attribution(vote[0], by)
        return Attribution(None, "nothing in the answer names a declared model")

    def model_of_failure(self, reply: Reply, puid: str) -> str | None:
        """The model that a failed try had been given to; None where nothing says it."""
        if len(self.models) == 1:
            return self.models[0].name
        try:
            found = self.attribute(read_origin(reply.message, puid)).model
        except BadAnswer:
            return None
        if found is None and (port := _UNREACHABLE_PORT.search(reply.detail)):
            return self.ports.get(int(port[1] or port[2]))
        return found

    def route_to(self, model: str | None, routing: Mapping[str, int]) -> Mapping[str, int] | None:
        """The routing that leads feedback to a model; None when there is none.

        Without a routing Seldon's executor gives feedback to every child of a router.

        Args:
            model: that answered.
            routing: `meta.routing` of its answer.
        """
        if model is not None and self.router is not None:
            return {**routing, self.router: self.names.index(model)}
        if len(self.models) == 1 or any(index >= 0 for index in routing.values()):
            return routing
        return None

    def _known(self, name: str | None, version: str | None = None) -> list[str]:
        """The declared model of this name; Seldon Core 2 serves version 3 of `a` as `a_3`."""
        said = (name, f"{name}/{version}")
        return [each for each in self.names if each in said or f"{each}_{version}" == name]

    def _routed(self, answer: Answer) -> list[str]:
        """The child that was chosen; none where several routers chose."""
        chosen = [
            index
            for node, index in answer.routing.items()
            if index >= 0 and self.router in (None, node)
        ]
        if len(chosen) != 1:
            return []
        (index,) = chosen
        return [self.names[index]] if index < len(self.models) else [f"child {index}"]


def parse_models(given: Sequence[str]) -> tuple[Model, ...]:
    """Read NAME or NAME=SHARE; without any share all are equal.

    Raises:
        DataError: a share is not a positive number, only some have one, or a name occurs twice.
    """
    models = []
    for item in given:
        name, equals, share = item.partition("=")
        try:
            models.append(Model(name, float(share) if equals else 1.0))
        except ValueError:
            raise DataError(f"{item!r}: the share is not a number") from None
    if len({model.name for model in models}) < len(models) or not all(m.name for m in models):
        raise DataError("every model needs a name, different from the others")
    if len({"=" in item for item in given}) > 1:
        raise DataError("give a share to every model or to none")
    if not all(0 < model.share < float("inf") for model in models):
        raise DataError("a share must be a positive number")
    total = sum(model.share for model in models)
    return tuple(Model(model.name, model.share / total) for model in models)
