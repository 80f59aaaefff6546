"""The A/B node of a SeldonDeployment: which models, in which shares, chosen by which router."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ab.attribution import Graph, Model
from ab.errors import DataError

_DEFAULT_RATIO = 0.5
_FIRST_HTTP_PORT, _FIRST_GRPC_PORT = 9000, 9500


@dataclasses.dataclass(frozen=True)
class Child:
    """A model of the graph.

    Attributes:
        name: of node and container.
        image: of the container; empty without one.
        parameters: as the manifest has them: name, type, value.
    """

    name: str
    image: str
    parameters: tuple[Mapping[str, str], ...]


@dataclasses.dataclass(frozen=True)
class ABTest:
    """A RANDOM_ABTEST node.

    Attributes:
        deployment: `metadata.name`.
        predictor: its name.
        router: name of the node that chooses.
        ratio_a: share of child 0, 0..1.
        children: two models, A and B.
        annotations: of the spec, which the wrapper reads.
        ports: child by its REST and gRPC ports, where no other container has the same one.
    """

    deployment: str
    predictor: str
    router: str
    ratio_a: float
    children: tuple[Child, ...]
    annotations: Mapping[str, str]
    ports: Mapping[int, str]

    @property
    def graph(self) -> Graph:
        """What the node routes to, with the declared shares."""
        shares = zip(self.children, (self.ratio_a, 1 - self.ratio_a), strict=True)
        models = tuple(Model(child.name, share) for child, share in shares)
        return Graph(models, self.router, self.ports)


def read_ab_test(path: Path) -> ABTest:
    """Read the one RANDOM_ABTEST node of a manifest, as Seldon's executor would.

    Raises:
        DataError: the manifest can't be read, has no such node, or one that would not do what it
            seems to say.
    """
    try:
        manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
        predictors = manifest["spec"]["predictors"]
    except (OSError, yaml.YAMLError, TypeError, KeyError) as error:
        raise DataError(f"{path.name} is no SeldonDeployment that can be read: {error}") from None
    found = [
        (predictor, node)
        for predictor in predictors
        for node in _nodes(predictor.get("graph", {}))
        if node.get("implementation") == "RANDOM_ABTEST"
    ]
    if len(found) != 1:
        raise DataError(f"{path.name} holds {len(found)} RANDOM_ABTEST nodes; one is needed")
    predictor, node = found[0]
    images = {c["name"]: c.get("image", "") for c in _containers([predictor])}
    children = node.get("children", [])
    if len(children) != 2:
        raise DataError(f"{path.name}: {node['name']} has {len(children)} children; it takes 2")
    return ABTest(
        deployment=manifest["metadata"]["name"],
        predictor=predictor["name"],
        router=node["name"],
        ratio_a=_ratio(node, path.name),
        children=tuple(
            Child(c["name"], images.get(c["name"], ""), tuple(c.get("parameters", [])))
            for c in children
        ),
        annotations=manifest["spec"].get("annotations", {}),
        ports=_ports(predictors, [child["name"] for child in children]),
    )


def _containers(predictors: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for predictor in predictors:
        for component in predictor.get("componentSpecs", []):
            yield from component["spec"]["containers"]


def _ports(predictors: Sequence[Mapping[str, Any]], children: Sequence[str]) -> dict[int, str]:
    """Child by port, as the operator numbers containers by name; a declared port wins."""
    owners: defaultdict[int, set[str]] = defaultdict(set)
    numbers: dict[str, int] = {}
    for container in _containers(predictors):
        name = container["name"]
        declared = {p.get("name"): p["containerPort"] for p in container.get("ports", [])}
        number = numbers.setdefault(name, len(numbers))
        owners[declared.get("http", _FIRST_HTTP_PORT + number)].add(name)
        owners[declared.get("grpc", _FIRST_GRPC_PORT + number)].add(name)
    return {p: next(iter(own)) for p, own in owners.items() if len(own) == 1 and own <= {*children}}


def _ratio(node: Mapping[str, Any], where: str) -> float:
    """`ratioA`, which the executor reads only where it is the one parameter."""
    parameters = node.get("parameters", [])
    if not parameters:
        return _DEFAULT_RATIO
    if len(parameters) > 1 or parameters[0].get("name") != "ratioA":
        raise DataError(
            f"{where}: {node['name']} must have the one parameter ratioA; with any other the "
            "executor splits 50:50 without a word"
        )
    try:
        ratio = float(parameters[0]["value"])
    except (KeyError, ValueError):
        ratio = -1.0
    if not 0 < ratio < 1:
        raise DataError(
            f"{where}: ratioA is {parameters[0].get('value')!r}; it lies between 0 and 1"
        )
    return ratio


def _nodes(graph: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield graph
    for child in graph.get("children", []):
        yield from _nodes(child)
