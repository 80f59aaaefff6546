"""What Seldon's operator makes of a manifest: variables, ports and files of each container.

Follows Seldon Core 1.19 (seldondeployment_controller.go and defaults.go) for custom containers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping

from roberta_sentiment.model.artifact import MOUNTED_MODEL
from tests import ROOT
from tests.manifests.document import (
    EXECUTOR_PORTS,
    Fields,
    Ports,
    assigned_ports,
    deployments,
    environment,
    name_of,
    nodes,
    parameters,
    pod_containers,
    pods,
    predictors,
)
from tests.rehearsal import kubelet
from tests.service import Service

METRICS_PATH = "/prometheus"
NO_ENGINE = "seldon.io/no-engine"
_LONGEST_NAME = 63
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
        environment: what the operator injects, then the container's own `env`.
        ports: of the container.
        annotations: content of /etc/podinfo/annotations.
        spec: the container of the manifest.
        pod: the pod spec of the manifest.
        kubelet: variables that Kubernetes adds, on which those of `environment` win.
    """

    name: str
    environment: Mapping[str, str]
    ports: Ports
    annotations: str
    spec: Fields
    pod: Fields
    kubelet: Mapping[str, str]


def production() -> Fields:
    """The one document of deployment.yaml."""
    (manifest,) = deployments(ROOT / "deployment.yaml")
    return manifest


def containers(manifest: Fields) -> list[Container]:
    """Every container that belongs to a graph node, in the order of the manifest."""
    found = []
    for predictor, of_pods in zip(predictors(manifest), assigned_ports(manifest), strict=True):
        by_name = {node.get("name"): node for node in nodes(predictor)}
        for pod, of_pod in zip(pods(predictor), of_pods, strict=True):
            for spec, ports in zip(pod_containers(pod), of_pod, strict=True):
                node = by_name.get(spec["name"])
                if node is not None:
                    injected = _injected(manifest, predictor, node, spec, ports)
                    found.append(
                        Container(
                            name=spec["name"],
                            environment={**injected, **environment(spec)},
                            ports=ports,
                            annotations=kubelet.podinfo(_annotations(manifest, predictor)),
                            spec=spec,
                            pod=pod["spec"],
                            kubelet=kubelet.environment(services(manifest), name_of(manifest)),
                        )
                    )
    return found


def services(manifest: Fields) -> list[Fields]:
    """The Services that the operator makes: of each graph container, and of each predictor."""
    found = []
    for predictor, of_pods in zip(predictors(manifest), assigned_ports(manifest), strict=True):
        name = f"{name_of(manifest)}-{predictor['name']}"
        graph = {node.get("name") for node in nodes(predictor)}
        ports = {
            spec["name"]: port
            for pod, of_pod in zip(pods(predictor), of_pods, strict=True)
            for spec, port in zip(pod_containers(pod), of_pod, strict=True)
            if spec["name"] in graph
        }
        found += [_service(f"{name}-{node}", port.http, port.grpc) for node, port in ports.items()]
        http, grpc = EXECUTOR_PORTS["http"], EXECUTOR_PORTS["grpc"]
        if NO_ENGINE in (predictor.get("annotations") or {}):
            ((http, grpc),) = ((port.http, port.grpc) for port in ports.values())
        found.append(_service(name, http, grpc))
    return found


def _service(name: str, http: int, grpc: int) -> Fields:
    """A name that is too long is hashed."""
    if len(name) > _LONGEST_NAME:
        name = f"seldon-{hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()}"
    ports = {"http": http, "grpc": grpc}
    listed = [{"name": n, "protocol": "TCP", "port": port} for n, port in ports.items()]
    return {"metadata": {"name": name}, "spec": {"ports": listed}}


def service_of(container: Container) -> Service:
    """The microservice with the variables that the operator would inject, but on free ports."""
    variables = {**container.kubelet, **container.environment}
    for name in PORT_VARIABLES:
        del variables[name]
    return Service(**variables)


def _injected(
    manifest: Fields, predictor: Fields, node: Fields, spec: Fields, ports: Ports
) -> dict[str, str]:
    """The variables that the operator gives a graph container."""
    http, grpc, metrics = str(ports.http), str(ports.grpc), str(ports.metrics)
    over_grpc = manifest["spec"].get("transport") == "grpc"
    labels = {"version": predictor["name"], **(predictor.get("labels") or {})}
    variables = {
        "PREDICTIVE_UNIT_SERVICE_PORT": grpc if over_grpc else http,
        "PREDICTIVE_UNIT_HTTP_SERVICE_PORT": http,
        "MLSERVER_HTTP_PORT": http,
        "PREDICTIVE_UNIT_GRPC_SERVICE_PORT": grpc,
        "MLSERVER_GRPC_PORT": grpc,
        "PREDICTIVE_UNIT_ID": spec["name"],
        "MLSERVER_MODEL_NAME": spec["name"],
        "PREDICTIVE_UNIT_IMAGE": spec["image"],
        "PREDICTOR_ID": predictor["name"],
        "PREDICTOR_LABELS": _as_go_does(labels),
        "SELDON_DEPLOYMENT_ID": name_of(manifest),
        "SELDON_EXECUTOR_ENABLED": "true",
        "PREDICTIVE_UNIT_METRICS_SERVICE_PORT": metrics,
        "MLSERVER_METRICS_PORT": metrics,
        "PREDICTIVE_UNIT_METRICS_ENDPOINT": METRICS_PATH,
        "MLSERVER_METRICS_ENDPOINT": METRICS_PATH,
    }
    if parameters(node):
        listed = [{key: p[key] for key in ("name", "value", "type")} for p in parameters(node)]
        variables["PREDICTIVE_UNIT_PARAMETERS"] = _as_go_does(listed)
    if node.get("modelUri"):
        variables["MLSERVER_MODEL_URI"] = str(MOUNTED_MODEL)
    return variables


def _as_go_does(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _annotations(manifest: Fields, predictor: Fields) -> dict[str, str]:
    """Annotations of the pod; those under `metadata` are not among them."""
    return {
        "prometheus.io/path": METRICS_PATH,
        "prometheus.io/scrape": "true",
        **(manifest["spec"].get("annotations") or {}),
        **(predictor.get("annotations") or {}),
    }
