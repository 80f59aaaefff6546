"""What Seldon's operator makes of deployment.yaml: variables, ports and files of each container.

Follows Seldon Core 1.19 (seldondeployment_controller.go and defaults.go) for custom containers.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
HTTP, GRPC, METRICS = "http", "grpc", "metrics"
FIRST_PORTS = {HTTP: 9000, GRPC: 9500, METRICS: 6000}
MOUNTED_MODEL = "/mnt/models"


@dataclasses.dataclass(frozen=True)
class Container:
    """A graph node's container as it runs in the pod.

    Attributes:
        name: of the container and of its graph node.
        environment: what the operator injects, then the container's own `env`.
        ports: number by name: http, grpc, metrics.
        annotations: content of /etc/podinfo/annotations.
        spec: the container of the manifest.
        pod: the pod spec of the manifest.
    """

    name: str
    environment: Mapping[str, str]
    ports: Mapping[str, int]
    annotations: str
    spec: Mapping[str, Any]
    pod: Mapping[str, Any]


def read_manifest(path: Path = ROOT / "deployment.yaml") -> dict[str, Any]:
    """The one document of a manifest."""
    manifest: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return manifest


def containers(manifest: Mapping[str, Any]) -> list[Container]:
    """Every container that belongs to a graph node, in the order of the manifest.

    Port numbers go up by one for each container. Those of http and grpc belong to the container's
    name in the whole deployment, those of metrics to each container apart.
    """
    numbers: dict[str, int] = {}
    found: list[Container] = []
    count = 0
    for predictor in manifest["spec"]["predictors"]:
        nodes = {node["name"]: node for node in _nodes(predictor["graph"])}
        for component in predictor["componentSpecs"]:
            for spec in component["spec"]["containers"]:
                number = numbers.setdefault(spec["name"], len(numbers))
                ports = {
                    HTTP: FIRST_PORTS[HTTP] + number,
                    GRPC: FIRST_PORTS[GRPC] + number,
                    METRICS: FIRST_PORTS[METRICS] + count,
                }
                count += 1
                ports |= {p["name"]: p["containerPort"] for p in spec.get("ports", [])}
                node = nodes.get(spec["name"])
                if node is not None:
                    environment = injected(manifest, predictor, node, spec, ports)
                    environment |= {e["name"]: e["value"] for e in spec.get("env", [])}
                    annotations = podinfo(manifest, predictor)
                    found.append(
                        Container(
                            spec["name"], environment, ports, annotations, spec, component["spec"]
                        )
                    )
    return found


def injected(
    manifest: Mapping[str, Any],
    predictor: Mapping[str, Any],
    node: Mapping[str, Any],
    spec: Mapping[str, Any],
    ports: Mapping[str, int],
) -> dict[str, str]:
    """The variables that the operator gives a graph container, transport REST."""
    http, grpc, metrics = (str(ports[name]) for name in (HTTP, GRPC, METRICS))
    environment = {
        "PREDICTIVE_UNIT_SERVICE_PORT": http,
        "PREDICTIVE_UNIT_HTTP_SERVICE_PORT": http,
        "MLSERVER_HTTP_PORT": http,
        "PREDICTIVE_UNIT_GRPC_SERVICE_PORT": grpc,
        "MLSERVER_GRPC_PORT": grpc,
        "PREDICTIVE_UNIT_ID": spec["name"],
        "MLSERVER_MODEL_NAME": spec["name"],
        "PREDICTIVE_UNIT_IMAGE": spec["image"],
        "PREDICTOR_ID": predictor["name"],
        "PREDICTOR_LABELS": json.dumps({"version": predictor["name"], **predictor.get("labels", {})}),
        "SELDON_DEPLOYMENT_ID": manifest["metadata"]["name"],
        "SELDON_EXECUTOR_ENABLED": "true",
        "PREDICTIVE_UNIT_METRICS_SERVICE_PORT": metrics,
        "MLSERVER_METRICS_PORT": metrics,
        "PREDICTIVE_UNIT_METRICS_ENDPOINT": "/prometheus",
        "MLSERVER_METRICS_ENDPOINT": "/prometheus",
    }  # fmt: skip
    if node.get("parameters"):
        environment["PREDICTIVE_UNIT_PARAMETERS"] = json.dumps(node["parameters"])
    if node.get("modelUri"):
        environment["MLSERVER_MODEL_URI"] = MOUNTED_MODEL
    return environment


def podinfo(manifest: Mapping[str, Any], predictor: Mapping[str, Any]) -> str:
    """The downward API's file of the pod's annotations; those under `metadata` are not in it."""
    annotations = {
        "prometheus.io/path": "/prometheus",
        "prometheus.io/scrape": "true",
        **manifest["spec"].get("annotations", {}),
        **predictor.get("annotations", {}),
    }
    return "".join(f'{key}="{value}"\n' for key, value in sorted(annotations.items()))


def _nodes(graph: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield graph
    for child in graph.get("children", []):
        yield from _nodes(child)
