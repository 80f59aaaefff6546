"""Our rules: what an executor container of the manifest's own has to bring.

A container named seldon-container-engine keeps the operator's away, and with it all that the
operator would have set.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from tests.manifests import rendering
from tests.manifests.document import (
    EXECUTOR,
    EXECUTOR_PORTS,
    PODINFO,
    Fields,
    built_in,
    containers,
    name_of,
    nodes,
    pod_containers,
    pods,
    predictors,
)
from tests.manifests.shutdown import arguments, duration_s

PODINFO_FOLDER = "/etc/podinfo"
PROBED = {"readinessProbe": "/ready", "livenessProbe": "/live"}
ANNOTATION = "metadata.annotations['"
NEEDLESS = ("parameters", "modelUri", "envSecretRefName")
"""What the executor does not need to know of a node that has a container."""


def it_gets_its_arguments(document: Fields) -> Iterator[str]:
    for predictor, _, container in _own(document):
        given, spec = arguments(container), document["spec"]
        wanted = {
            "sdep": name_of(document),
            "namespace": document["metadata"].get("namespace", rendering.NAMESPACE),
            "predictor": predictor["name"],
            "http_port": str(EXECUTOR_PORTS["http"]),
            "grpc_port": str(EXECUTOR_PORTS["grpc"]),
            "protocol": spec.get("protocol") or "seldon",
            "transport": spec.get("transport") or "rest",
            "prometheus_path": rendering.METRICS_PATH,
            "server_type": spec.get("serverType") or "rpc",
        }
        for name, value in wanted.items():
            if given.get(name) != value:
                yield f"--{name} is {given.get(name)}, not {value}"


def it_stops_late(document: Fields) -> Iterator[str]:
    """A plain number is no duration, and ends the executor at its start."""
    for _, _, container in _own(document):
        given = arguments(container)
        for name in ("shutdown_delay", "graceful_timeout"):
            if not duration_s(given.get(name)):
                yield f"--{name} is {given.get(name)}; a time such as 10s is needed"


def it_opens_its_ports(document: Fields) -> Iterator[str]:
    """Prometheus finds its metrics by the name of the port."""
    wanted = {"metrics": EXECUTOR_PORTS["http"], "grpc": EXECUTOR_PORTS["grpc"]}
    for _, _, container in _own(document):
        declared = {p.get("name"): p.get("containerPort") for p in container.get("ports") or []}
        for name, port in wanted.items():
            if declared.get(name) != port:
                yield f"its port {name} is {declared.get(name)}, not {port}"


def it_is_probed(document: Fields) -> Iterator[str]:
    for _, _, container in _own(document):
        for probe, path in PROBED.items():
            asked = (container.get(probe) or {}).get("httpGet")
            if asked != {"path": path, "port": EXECUTOR_PORTS["http"]}:
                yield f"its {probe} asks {asked}, not {path} on {EXECUTOR_PORTS['http']}"


def it_reads_the_annotations(document: Fields) -> Iterator[str]:
    """The timeouts are there."""
    for _, _, container in _own(document):
        if {"name": PODINFO, "mountPath": PODINFO_FOLDER} not in (
            container.get("volumeMounts") or []
        ):
            yield f"it does not mount {PODINFO} at {PODINFO_FOLDER}"


def its_file_comes_from_an_annotation(document: Fields) -> Iterator[str]:
    """Without its apiVersion in the reference the operator updates the Deployment forever."""
    for _, pod, container in _own(document):
        for volume in pod["spec"].get("volumes") or []:
            for item in (volume.get("downwardAPI") or {}).get("items") or []:
                if (item.get("fieldRef") or {}).get("apiVersion") != "v1":
                    yield f"volume {volume['name']}: the fieldRef of {item.get('path')} needs v1"
        if _file(pod, container) is None:
            yield f"no annotation of the pod is mounted as {arguments(container).get('file')}"


def its_graph_is_the_manifests(document: Fields) -> Iterator[str]:
    """Else the executor calls what is not there, or leaves out what is."""
    for predictor, pod, container in _own(document):
        text = _file(pod, container)
        if text is None:
            continue
        try:
            (own,) = yaml.safe_load(text)["spec"]["predictors"]
            found = {
                "name": own["name"], "graph": _essential(own["graph"]), "images": _images(own),
            }  # fmt: skip
        except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError) as error:
            yield f"its file is no SeldonDeployment of one predictor: {error!r}"
            continue
        graph = rendering.executor_graph(document, predictor)
        wanted = {
            "name": predictor["name"], "graph": _essential(graph), "images": _images(predictor),
        }  # fmt: skip
        for part, value in wanted.items():
            if found[part] != value:
                yield f"the {part} of its file is {found[part]}, the manifest's is {value}"


def the_service_selects_its_pod(document: Fields) -> Iterator[str]:
    for predictor, pod, _ in _own(document):
        labels = (pod.get("metadata") or {}).get("labels") or {}
        wanted = rendering.service_name(document, predictor)
        if labels.get("seldon-app") != wanted:
            yield f"the label seldon-app is {labels.get('seldon-app')}, not {wanted}"


def its_deployment_has_another_name(document: Fields) -> Iterator[str]:
    """Under the name that the injected form has, the operator deletes the running one first."""
    for predictor, pod, _ in _own(document):
        index = pods(predictor).index(pod)
        joined = "-".join(c["name"] for c in pod_containers(pod) if c["name"] != EXECUTOR)
        if (pod.get("metadata") or {}).get("name") in (None, "", joined):
            yield f"componentSpec {index} has no metadata.name of its own, other than {joined}"


def variables_reach_it(document: Fields) -> Iterator[str]:
    """`svcOrchSpec` is for the injected executor and ignored here."""
    for predictor, _, _ in _own(document):
        if predictor.get("svcOrchSpec"):
            yield f"predictor {predictor['name']} has an svcOrchSpec, which is ignored"


def _own(document: Fields) -> Iterator[tuple[Fields, Fields, Fields]]:
    """Predictor, pod and executor of every manifest's own executor."""
    for predictor in predictors(document):
        for pod in pods(predictor):
            for container in pod_containers(pod):
                if container.get("name") == EXECUTOR:
                    yield predictor, pod, container


def _file(pod: Fields, container: Fields) -> str | None:
    """The annotation that the container finds as the file of its --file."""
    folder, _, name = arguments(container).get("file", "").rpartition("/")
    mounts = {m["mountPath"]: m["name"] for m in container.get("volumeMounts") or []}
    volumes = {v["name"]: v for v in pod["spec"].get("volumes") or []}
    volume = volumes.get(mounts.get(folder, ""), {})
    annotations = (pod.get("metadata") or {}).get("annotations") or {}
    for item in (volume.get("downwardAPI") or {}).get("items") or []:
        field = str((item.get("fieldRef") or {}).get("fieldPath"))
        if item.get("path") == name and field.startswith(ANNOTATION):
            return annotations.get(field.removeprefix(ANNOTATION).removesuffix("']"))
    return None


def _essential(node: Fields) -> Fields:
    """A node without what the executor does not need."""
    kept = {key: value for key, value in node.items() if key != "children"}
    if not built_in(node):
        kept = {key: value for key, value in kept.items() if key not in NEEDLESS}
        if kept.get("implementation") == "UNKNOWN_IMPLEMENTATION":
            del kept["implementation"]
    return {**kept, "children": [_essential(child) for child in node.get("children") or []]}


def _images(predictor: Fields) -> dict[str, Any]:
    """Image by container: the executor's metrics are labelled with it."""
    names = {node.get("name") for node in nodes(predictor)}
    return {c["name"]: c.get("image") for c in containers(predictor) if c.get("name") in names}


RULES = (
    it_gets_its_arguments,
    it_stops_late,
    it_opens_its_ports,
    it_is_probed,
    it_reads_the_annotations,
    its_file_comes_from_an_annotation,
    its_graph_is_the_manifests,
    the_service_selects_its_pod,
    its_deployment_has_another_name,
    variables_reach_it,
)
