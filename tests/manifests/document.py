"""A SeldonDeployment as YAML gives it: its nodes, containers, names and ports."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Fields = dict[str, Any]

EXECUTOR = "seldon-container-engine"
"""Name of the executor's container; one of this name in a manifest suppresses the injected one."""

NO_EXECUTOR = "seldon.io/no-engine"
SERVICE_NAME = "seldon.io/svc-name"
LONGEST_NAME = 63
PODINFO = "seldon-podinfo"
"""Volume with the pod's annotations, which the operator adds to every pod."""

EXECUTOR_PORTS = {"http": 8000, "grpc": 5001}
FIRST_PORTS = {"http": 9000, "grpc": 9500, "metrics": 6000}


def read(path: Path) -> list[Fields]:
    """Every document of a YAML file."""
    return [d for d in yaml.safe_load_all(path.read_text(encoding="utf-8")) if d is not None]


def deployments(path: Path) -> list[Fields]:
    """The SeldonDeployments among them."""
    return [d for d in read(path) if d.get("kind") == "SeldonDeployment"]


def name_of(document: Fields) -> str:
    """`metadata.name`."""
    return str(document.get("metadata", {}).get("name", ""))


def predictors(document: Fields) -> list[Fields]:
    """`spec.predictors`."""
    return document.get("spec", {}).get("predictors") or []


def nodes(predictor: Fields) -> Iterator[Fields]:
    """All nodes of a predictor's graph, a parent before its children."""
    waiting = [predictor.get("graph") or {}]
    while waiting:
        node = waiting.pop(0)
        yield node
        waiting[:0] = node.get("children") or []


def pods(predictor: Fields) -> list[Fields]:
    """`componentSpecs`: each becomes a Deployment."""
    return predictor.get("componentSpecs") or []


def pod_containers(pod: Fields) -> list[Fields]:
    """Containers of one of them, without init containers."""
    return pod.get("spec", {}).get("containers") or []


def containers(predictor: Fields) -> Iterator[Fields]:
    """Containers of all pods of a predictor."""
    for pod in pods(predictor):
        yield from pod_containers(pod)


def has_executor(predictor: Fields) -> bool:
    """Whether requests pass an executor, injected or brought along."""
    return (predictor.get("annotations") or {}).get(NO_EXECUTOR) != "true"


def brings_executor(predictor: Fields) -> bool:
    """Whether the manifest has an executor of its own."""
    return any(container.get("name") == EXECUTOR for container in containers(predictor))


def graph_containers(document: Fields) -> Iterator[tuple[Fields, Fields, Fields]]:
    """Predictor, pod and container of every container that is a node of the graph."""
    for predictor in predictors(document):
        names = {node.get("name") for node in nodes(predictor)}
        for pod in pods(predictor):
            for container in pod_containers(pod):
                if container.get("name") in names:
                    yield predictor, pod, container


def environment(container: Fields) -> dict[str, Any]:
    """Variables of a container, or of `svcOrchSpec`."""
    return {entry["name"]: entry.get("value") for entry in container.get("env") or []}


def parameters(node: Fields) -> list[Fields]:
    """Graph parameters of a node."""
    return node.get("parameters") or []


def built_in(node: Fields) -> bool:
    """Whether the executor itself does the node's work, without a container."""
    return node.get("implementation") in (
        "SIMPLE_MODEL", "SIMPLE_ROUTER", "RANDOM_ABTEST", "AVERAGE_COMBINER",
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Ports:
    """Port numbers that a container ends up with; only a graph node has one for metrics."""

    http: int
    grpc: int
    metrics: int | None


def assigned_ports(document: Fields) -> list[list[list[Ports]]]:
    """Ports by predictor, pod and container, as the operator's defaulting assigns them.

    Numbers of http and grpc go with the container's name over the whole deployment; each graph
    node without a declared metrics port takes the next one. A declared port of the name wins.
    """
    offsets: dict[str, int] = {}
    next_metrics = itertools.count(FIRST_PORTS["metrics"])

    def assign(container: Fields, names: set[str]) -> Ports:
        declared = {p.get("name"): p["containerPort"] for p in container.get("ports") or []}
        offset = offsets.setdefault(str(container.get("name")), len(offsets))
        if container.get("name") in names and "metrics" not in declared:
            declared["metrics"] = next(next_metrics)
        return Ports(
            http=declared.get("http", FIRST_PORTS["http"] + offset),
            grpc=declared.get("grpc", FIRST_PORTS["grpc"] + offset),
            metrics=declared.get("metrics"),
        )

    return [
        [[assign(container, names) for container in pod_containers(pod)] for pod in pods(predictor)]
        for predictor in predictors(document)
        for names in [{str(node.get("name")) for node in nodes(predictor)}]
    ]


def pod_labels(document: Fields, predictor: Fields) -> dict[str, str]:
    """Labels on every pod of a predictor that a selector may rely on."""
    return {
        "seldon-deployment-id": name_of(document),
        "app.kubernetes.io/managed-by": "seldon-core",
        "version": str(predictor.get("name")),
        **(predictor.get("labels") or {}),
    }
