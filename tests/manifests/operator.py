"""What Seldon's operator and Kubernetes accept and then do otherwise than meant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.manifests.document import (
    EXECUTOR_PORTS,
    Fields,
    assigned_ports,
    built_in,
    containers,
    environment,
    nodes,
    parameters,
    pod_containers,
    pods,
    predictors,
)

DROPS_OTHERS = {
    "PREDICTIVE_UNIT_HTTP_SERVICE_PORT", "PREDICTIVE_UNIT_GRPC_SERVICE_PORT",
    "PREDICTIVE_UNIT_PARAMETERS", "MLSERVER_HTTP_PORT", "MLSERVER_GRPC_PORT", "MLSERVER_MODEL_URI",
}  # fmt: skip
"""Variables that the operator also sets; finding one of them, it forgets those it has collected."""


def every_container_is_a_node(document: Fields) -> Iterator[str]:
    """Another container gets neither service nor probes nor variables, but a port number."""
    for predictor in predictors(document):
        names = {node.get("name") for node in nodes(predictor)}
        for container in containers(predictor):
            if container.get("name") not in names:
                yield f"container {container.get('name')} is no node of the graph"


def node_names_differ(document: Fields) -> Iterator[str]:
    for predictor in predictors(document):
        for name, count in Counter(node.get("name") for node in nodes(predictor)).items():
            if count > 1:
                yield f"{count} nodes are named {name}"


def nodes_with_a_container_have_a_type(document: Fields) -> Iterator[str]:
    """The type MODEL is only filled in where methods and implementation are missing too.

    Without a type the executor never calls the node and sends the request back.
    """
    for predictor in predictors(document):
        for node in nodes(predictor):
            silent = "type" not in node and ("methods" in node or "implementation" in node)
            if silent and not built_in(node):
                yield f"node {node.get('name')} has no type and will never be called"


def values_are_texts(document: Fields) -> Iterator[str]:
    """The API server refuses numbers here, the schema test needs a file, so it is said twice."""
    for predictor in predictors(document):
        for node in nodes(predictor):
            for parameter in parameters(node):
                if not isinstance(parameter.get("value"), str):
                    yield f"parameter {parameter.get('name')} of {node.get('name')} is no text"
        for holder in (*containers(predictor), predictor.get("svcOrchSpec") or {}):
            for name, value in environment(holder).items():
                if value is not None and not isinstance(value, str):
                    yield f"variable {name} is no text"


def no_variable_drops_others(document: Fields) -> Iterator[str]:
    for predictor in predictors(document):
        for container in containers(predictor):
            for name in sorted(DROPS_OTHERS & environment(container).keys()):
                yield f"container {container.get('name')} sets {name}: other variables are lost"


def annotations_reach_the_pod(document: Fields) -> Iterator[str]:
    """Executor and wrapper read the pod's annotations, which come from `spec` and predictors."""
    for key in document.get("metadata", {}).get("annotations") or {}:
        if key.startswith("seldon.io/"):
            yield f"{key} under metadata is never read; put it into spec.annotations"


def ports_of_a_pod_differ(document: Fields) -> Iterator[str]:
    for predictor, of_pods in zip(predictors(document), assigned_ports(document), strict=True):
        for index, of_pod in enumerate(of_pods):
            taken = [port for c in of_pod for port in (c.http, c.grpc, c.metrics) if port]
            taken += EXECUTOR_PORTS.values() if index == 0 else ()
            for port, count in Counter(taken).items():
                if count > 1:
                    yield f"predictor {predictor.get('name')}: port {port} is given twice"


def pods_name_their_user(document: Fields) -> Iterator[str]:
    """Any security context of the pod replaces the operator's own, which sets the user."""
    for predictor in predictors(document):
        for pod in pods(predictor):
            context = pod.get("spec", {}).get("securityContext")
            if context is None or "runAsUser" not in context:
                yield f"a pod of {predictor.get('name')} names no user"


def replicas_do_not_fight(document: Fields) -> Iterator[str]:
    """A fixed number is written back at each reconciliation."""
    for predictor in predictors(document):
        for pod in pods(predictor):
            fixed = [h for h in (document["spec"], predictor, pod) if "replicas" in h]
            if fixed and ("hpaSpec" in pod or "kedaSpec" in pod):
                yield f"predictor {predictor.get('name')} has replicas and an autoscaler"


def one_autoscaler(document: Fields) -> Iterator[str]:
    """With both, KEDA wins, and a utilisation target needs a request to be a share of."""
    for predictor in predictors(document):
        for pod in pods(predictor):
            if "hpaSpec" in pod and "kedaSpec" in pod:
                yield f"predictor {predictor.get('name')} has hpaSpec and kedaSpec"


def no_overlapping_budgets(document: Fields) -> Iterator[str]:
    """A pdbSpec selects the pods of all predictors; two of them refuse every eviction."""
    for predictor in predictors(document):
        if any("pdbSpec" in pod for pod in pods(predictor)):
            yield f"predictor {predictor.get('name')} has a pdbSpec; apply a budget of its own"


def volumes_are_declared(document: Fields) -> Iterator[str]:
    for predictor in predictors(document):
        for pod in pods(predictor):
            declared = {v["name"] for v in pod.get("spec", {}).get("volumes") or []}
            for container in pod_containers(pod):
                for mount in container.get("volumeMounts") or []:
                    if mount["name"] not in declared:
                        yield f"container {container.get('name')} mounts {mount['name']}, not there"


RULES = (
    every_container_is_a_node,
    node_names_differ,
    nodes_with_a_container_have_a_type,
    values_are_texts,
    no_variable_drops_others,
    annotations_reach_the_pod,
    ports_of_a_pod_differ,
    pods_name_their_user,
    replicas_do_not_fight,
    one_autoscaler,
    no_overlapping_budgets,
    volumes_are_declared,
)
