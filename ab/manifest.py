"""The graph of a SeldonDeployment, and its A/B node: which models, in which shares."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ab.attribution import Graph, Model
from ab.errors import DataError

_DEFAULT_RATIO = "0.5"
_FIRST_HTTP_PORT, _FIRST_GRPC_PORT = 9000, 9500


@dataclasses.dataclass(frozen=True)
class Node:
    """A node of a graph.

    Attributes:
        name: of the node and its container.
        type: MODEL, ROUTER, or empty: a node without a container.
        host: where the container listens; empty without one.
        http_port, grpc_port: of the container.
        image: of the container, with its tag.
        ratio_a: share of child 0 of a RANDOM_ABTEST, as the manifest has it; None for other nodes.
        children: in the order of the graph.
        parameters: as the manifest has them: name, type, value.
        environment: variables of the container with their values in the manifest.
    """

    name: str
    type: str = "MODEL"
    host: str = "127.0.0.1"
    http_port: int = 0
    grpc_port: int = 0
    image: str = ""
    ratio_a: str | None = None
    children: tuple[Node, ...] = ()
    parameters: tuple[Mapping[str, str], ...] = ()
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def walk(self) -> Iterator[Node]:
        """This node and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclasses.dataclass(frozen=True)
class ABTest:
    """A RANDOM_ABTEST node over two models, A and B.

    Attributes:
        deployment: `metadata.name`.
        predictor: its name.
        v2: whether it speaks the Open Inference Protocol.
        node: that chooses.
        ports: child by its REST and gRPC ports, where no other container has the same one.
    """

    deployment: str
    predictor: str
    v2: bool
    node: Node
    ports: Mapping[int, str]

    @property
    def graph(self) -> Graph:
        """What the node routes to, with the declared shares."""
        ratio_a = float(self.node.ratio_a or _DEFAULT_RATIO)
        shares = zip(self.node.children, (ratio_a, 1 - ratio_a), strict=True)
        models = tuple(Model(child.name, share) for child, share in shares)
        return Graph(models, None if self.v2 else self.node.name, self.ports)


def read_graph(predictor: Mapping[str, Any]) -> Node:
    """The graph of a `spec.predictors[]`, with the endpoints where the operator has added them."""
    containers = {each["name"]: each for each in _containers([predictor])}
    return _read_node(predictor.get("graph", {"name": ""}), containers)


def read_ab_test(path: Path) -> ABTest:
    """Read the one RANDOM_ABTEST node of a manifest, as Seldon's executor would.

    Raises:
        DataError: the manifest can't be read, has no such node, or one that would not do what it
            seems to say.
    """
    try:
        manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
        predictors = manifest["spec"]["predictors"]
        graphs = [(each["name"], read_graph(each)) for each in predictors]
    except (OSError, yaml.YAMLError, TypeError, KeyError) as error:
        raise DataError(f"{path.name} is no SeldonDeployment that can be read: {error}") from None
    found = [(name, n) for name, graph in graphs for n in graph.walk() if n.ratio_a is not None]
    if len(found) != 1:
        raise DataError(f"{path.name} holds {len(found)} RANDOM_ABTEST nodes; one is needed")
    predictor, node = found[0]
    if len(node.children) != 2:
        raise DataError(f"{path.name}: {node.name} has {len(node.children)} children; it takes 2")
    _check_ratio(node, path.name)
    return ABTest(
        deployment=manifest["metadata"]["name"],
        predictor=predictor,
        v2=manifest["spec"].get("protocol") in ("v2", "kfserving"),
        node=node,
        ports=_ports(predictors, [child.name for child in node.children]),
    )


def _containers(predictors: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for predictor in predictors:
        for component in predictor.get("componentSpecs") or ():
            yield from component["spec"]["containers"]


def _read_node(unit: Mapping[str, Any], containers: Mapping[str, Mapping[str, Any]]) -> Node:
    container = containers.get(unit["name"], {})
    endpoint = unit.get("endpoint") or {}
    parameters = tuple(unit.get("parameters") or ())
    ratios = [str(each.get("value")) for each in parameters if each.get("name") == "ratioA"]
    # The executor reads ratioA only where it is the one parameter.
    ratio = ratios[0] if len(parameters) == len(ratios) == 1 else _DEFAULT_RATIO
    return Node(
        name=unit["name"],
        type="made of methods" if unit.get("methods") else unit.get("type") or "",
        host=endpoint.get("service_host", ""),
        http_port=endpoint.get("httpPort", 0),
        grpc_port=endpoint.get("grpcPort", 0),
        image=container.get("image", ""),
        ratio_a=ratio if unit.get("implementation") == "RANDOM_ABTEST" else None,
        children=tuple(_read_node(child, containers) for child in unit.get("children") or ()),
        parameters=parameters,
        environment={e["name"]: e["value"] for e in container.get("env") or () if "value" in e},
    )


def _check_ratio(node: Node, where: str) -> None:
    names = [each.get("name") for each in node.parameters]
    if names not in ([], ["ratioA"]):
        raise DataError(
            f"{where}: {node.name} must have the one parameter ratioA; with any other the "
            "executor splits 50:50 without a word"
        )
    try:
        fits = 0 < float(node.ratio_a or "") < 1
    except ValueError:
        fits = False
    if not fits:
        raise DataError(f"{where}: ratioA is {node.ratio_a!r}; it lies between 0 and 1")


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
