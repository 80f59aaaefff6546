"""The A/B node of a SeldonDeployment: which models, in which shares."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ab.attribution import Graph, Model
from roberta_sentiment.errors import DataError

Part = Mapping[str, Any]
"""A predictor, a node of its graph or a container, as the manifest has it."""

DEFAULT_RATIO = "0.5"
_FIRST_HTTP_PORT, _FIRST_GRPC_PORT = 9000, 9500


@dataclasses.dataclass(frozen=True)
class ABTest:
    """A RANDOM_ABTEST node over two models, A and B.

    Attributes:
        deployment: `metadata.name`.
        v2: whether it speaks the Open Inference Protocol.
        predictor: that holds the node.
        node: that chooses.
        graph: what it routes to, with the declared shares.
    """

    deployment: str
    v2: bool
    predictor: Part
    node: Part
    graph: Graph


def read_ab_test(path: Path) -> ABTest:
    """Read the one RANDOM_ABTEST node of a manifest, as Seldon's executor would.

    Raises:
        DataError: the manifest can't be read, has no such node, or one that would not do what it
            seems to say.
    """
    try:
        manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
        predictors = manifest["spec"]["predictors"]
        found = [
            (each, node)
            for each in predictors
            for node in _nodes(each.get("graph") or {})
            if node.get("implementation") == "RANDOM_ABTEST"
        ]
        children = [[child["name"] for child in node.get("children") or ()] for _, node in found]
        owners = _owners_of_ports(predictors)
    except (OSError, ValueError, yaml.YAMLError, AttributeError, TypeError, KeyError) as error:
        raise DataError(
            f"{path.name} is not a SeldonDeployment that can be read: {error}"
        ) from None
    if len(found) != 1:
        raise DataError(f"{path.name} holds {len(found)} RANDOM_ABTEST nodes; one is needed")
    ((predictor, node),), (names,) = found, children
    if len(names) != 2:
        raise DataError(f"{path.name}: {node['name']} has {len(names)} children; it takes 2")
    share_a = _share_a(node, path.name)
    models = (Model(names[0], share_a), Model(names[1], 1 - share_a))
    ports = {port: name for port, name in owners.items() if name in names}
    v2 = manifest["spec"].get("protocol") in ("v2", "kfserving")
    graph = Graph(models, None if v2 else node["name"], ports)
    return ABTest(manifest["metadata"]["name"], v2, predictor, node, graph)


def containers(predictor: Part) -> Iterator[Part]:
    """The containers of a predictor's nodes."""
    for component in predictor.get("componentSpecs") or ():
        yield from component["spec"]["containers"]


def _nodes(node: Part) -> Iterator[Part]:
    yield node
    for child in node.get("children") or ():
        yield from _nodes(child)


def _share_a(node: Part, where: str) -> float:
    parameters = node.get("parameters") or ()
    if [each.get("name") for each in parameters] not in ([], ["ratioA"]):
        raise DataError(
            f"{where}: {node['name']} must have the one parameter ratioA; with any other the "
            "executor splits 50:50 without a word"
        )
    value = parameters[0].get("value") if parameters else DEFAULT_RATIO
    try:
        share = float(value)
    except (TypeError, ValueError):
        share = 0.0
    if not 0 < share < 1:
        raise DataError(f"{where}: ratioA is {value!r}; it lies between 0 and 1")
    return share


def _owners_of_ports(predictors: Sequence[Part]) -> dict[int, str]:
    """Container by port, if no other has it, as the operator numbers them; a declared one wins."""
    owners: defaultdict[int, set[str]] = defaultdict(set)
    numbers: dict[str, int] = {}
    for container in (each for predictor in predictors for each in containers(predictor)):
        name = container["name"]
        declared = {p.get("name"): p["containerPort"] for p in container.get("ports", [])}
        number = numbers.setdefault(name, len(numbers))
        owners[declared.get("http", _FIRST_HTTP_PORT + number)].add(name)
        owners[declared.get("grpc", _FIRST_GRPC_PORT + number)].add(name)
    return {port: next(iter(names)) for port, names in owners.items() if len(names) == 1}
