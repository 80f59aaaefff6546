"""The pods that Seldon's operator makes of a manifest, each container with what it finds there.

Of our manifests the operator is imitated (`tests.manifests.rendering`); what the real one made of
earlier ones is recorded in tests/fixtures/operator.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from tests import ROOT
from tests.manifests import rendering
from tests.manifests.document import EXECUTOR, Fields, Ports, deployments, environment
from tests.rehearsal import kubelet
from tests.service import Service

FOLDER = ROOT / "tests" / "fixtures" / "operator"
NAMES = sorted(path.stem for path in (FOLDER / "manifests").glob("*.yaml"))
"""Of the recorded manifests."""

PORT_VARIABLES = (
    "PREDICTIVE_UNIT_HTTP_SERVICE_PORT",
    "PREDICTIVE_UNIT_GRPC_SERVICE_PORT",
    "PREDICTIVE_UNIT_METRICS_SERVICE_PORT",
)


@dataclasses.dataclass(frozen=True)
class Container:
    """A graph node's container as it runs in the pod.

    Attributes:
        name: of the container and of its graph node.
        environment: what the operator injects, and the container's own `env`.
        ports: of the container.
        annotations: content of /etc/podinfo/annotations.
        spec: the container as the API server gets it.
        pod: the pod spec that it is in.
        kubelet: variables that Kubernetes adds, on which those of `environment` win.
    """

    name: str
    environment: Mapping[str, str]
    ports: Ports
    annotations: str
    spec: Fields
    pod: Fields
    kubelet: Mapping[str, str]


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


def production() -> Fields:
    """The one document of deployment.yaml."""
    (document,) = deployments(ROOT / "deployment.yaml")
    return document


def containers(document: Fields) -> list[Container]:
    """Every container that belongs to a graph node, in the order of the manifest."""
    services = rendering.services(document)
    made = [_pod(deployment, services) for deployment in rendering.deployments(document)]
    return [container for pod in made for container in pod.containers]


def manifest(name: str) -> Fields:
    """What the recorded operator was given."""
    (document,) = deployments(FOLDER / "manifests" / f"{name}.yaml")
    return document


def rendered(name: str) -> dict[str, Any]:
    """What it made of it."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


def rendered_pods(name: str) -> list[RenderedPod]:
    """The pods of a recorded manifest."""
    recorded = rendered(name)
    return [_pod(deployment, recorded["services"]) for deployment in recorded["deployments"]]


def service_of(container: Container) -> Service:
    """The microservice with the variables that the operator would inject, but on free ports."""
    variables = {**container.kubelet, **container.environment}
    for name in PORT_VARIABLES:
        del variables[name]
    return Service(**variables)


def _pod(deployment: Mapping[str, Any], services: list[Fields]) -> RenderedPod:
    name, template = deployment["metadata"]["name"], deployment["spec"]["template"]
    added = kubelet.environment(services, name)
    annotations = kubelet.podinfo(template["metadata"]["annotations"])
    specs = {spec["name"]: spec for spec in template["spec"]["containers"]}
    executor = specs.pop(EXECUTOR, None)
    of_nodes = [
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
    return RenderedPod(name, of_nodes, executor)
