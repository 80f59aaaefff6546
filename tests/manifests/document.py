"""A SeldonDeployment as YAML gives it: its nodes, containers, names and ports."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Fields = dict[str, Any]

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
    """Port numbers that a container ends up with."""

    http: int
    grpc: int
    metrics: int


def assigned_ports(document: Fields) -> list[list[list[Ports]]]:
    """Ports by predictor, pod and container, as the operator's defaulting assigns them.

    Numbers of http and grpc go with the container's name over the whole deployment; each container
    without a declared metrics port takes the next one. A declared port of the name wins.
    """
    known: dict[str, int] = {}
    next_metrics = FIRST_PORTS["metrics"]
    result = []
    for predictor in predictors(document):
        of_predictor = []
        for pod in pods(predictor):
            of_pod = []
            for container in pod_containers(pod):
                declared = {p.get("name"): p["containerPort"] for p in container.get("ports") or []}
                offset = known.setdefault(str(container.get("name")), len(known))
                if "metrics" not in declared:
                    declared["metrics"] = next_metrics
                    next_metrics += 1
                of_pod.append(
                    Ports(
                        http=declared.get("http", FIRST_PORTS["http"] + offset),
                        grpc=declared.get("grpc", FIRST_PORTS["grpc"] + offset),
                        metrics=declared["metrics"],
                    )
                )
            of_predictor.append(of_pod)
        result.append(of_predictor)
    return result


def pod_labels(document: Fields, predictor: Fields) -> dict[str, str]:
    """Labels on every pod of a predictor that a selector may rely on."""
    return {
        "seldon-deployment-id": name_of(document),
        "app.kubernetes.io/managed-by": "seldon-core",
        "version": str(predictor.get("name")),
        **(predictor.get("labels") or {}),
    }
