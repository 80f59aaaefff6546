"""What Seldon's real operator made of our manifests, recorded in tests/fixtures/operator."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from tests import ROOT
from tests.manifests.document import Fields, Ports, deployments, environment
from tests.rehearsal import kubelet
from tests.rehearsal.cluster import Container

FOLDER = ROOT / "tests" / "fixtures" / "operator"
EXECUTOR = "seldon-container-engine"
NAMES = sorted(path.stem for path in (FOLDER / "manifests").glob("*.yaml"))
"""Of the recorded manifests."""


@dataclasses.dataclass(frozen=True)
class RenderedPod:
    """A pod of one Deployment.

    Attributes:
        name: of the Deployment.
        containers: those of graph nodes.
        executor: its container as the API server gets it, None without one.
    """

    name: str
    containers: list[Container]
    executor: Fields | None


def manifest(name: str) -> Fields:
    """What the operator was given."""
    (document,) = deployments(FOLDER / "manifests" / f"{name}.yaml")
    return document


def rendered(name: str) -> dict[str, Any]:
    """What it made of it."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


def rendered_pods(name: str) -> list[RenderedPod]:
    """The pods of a manifest, each container in the environment that it finds there."""
    recorded = rendered(name)
    return [_pod(deployment, recorded["services"]) for deployment in recorded["deployments"]]


def _pod(deployment: Mapping[str, Any], services: list[Fields]) -> RenderedPod:
    name, template = deployment["metadata"]["name"], deployment["spec"]["template"]
    added = kubelet.environment(services, name)
    annotations = kubelet.podinfo(template["metadata"]["annotations"])
    specs = {spec["name"]: spec for spec in template["spec"]["containers"]}
    executor = specs.pop(EXECUTOR, None)
    containers = [
        Container(
            name=spec["name"],
            environment=environment(spec),
            ports=Ports(**{port["name"]: port["containerPort"] for port in spec["ports"]}),
            annotations=annotations,
            spec=spec,
            pod=template["spec"],
            kubelet=added,
        )
        for spec in specs.values()
    ]
    return RenderedPod(name, containers, executor)
