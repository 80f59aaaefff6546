"""Our rules: what Seldon's webhook lets pass, and its operator or Kubernetes takes otherwise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.manifests.document import (
    EXECUTOR,
    EXECUTOR_PORTS,
    FIRST_PORTS,
    LONGEST_NAME,
    NO_EXECUTOR,
    PODINFO,
    Fields,
    assigned_ports,
    built_in,
    containers,
    environment,
    graph_containers,
    has_executor,
    name_of,
    nodes,
    parameters,
    pod_containers,
    pods,
    predictors,
)
from tests.manifests.webhook import CUSTOM, PREPACKAGED

TYPES = {"MODEL", "ROUTER", "COMBINER", "TRANSFORMER", "OUTPUT_TRANSFORMER"}
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
            if container.get("name") not in names | {EXECUTOR}:
                yield f"container {container.get('name')} is no node of the graph"


def node_names_differ(document: Fields) -> Iterator[str]:
    for predictor in predictors(document):
        for name, count in Counter(node.get("name") for node in nodes(predictor)).items():
            if count > 1:
                yield f"{count} nodes are named {name}"


def implementations_are_spelt_right(document: Fields) -> Iterator[str]:
    """A typo with a modelUri and an image passes the webhook and ends in the state Failed.

    An empty word passes too, and then no container does the node's work.
    """
    for predictor in predictors(document):
        for node in nodes(predictor):
            word = node.get("implementation", CUSTOM)
            if not built_in(node) and word not in PREPACKAGED | {CUSTOM}:
                yield f"node {node.get('name')}: there is no implementation {word!r}"


def nodes_with_a_container_have_a_type(document: Fields) -> Iterator[str]:
    """The type MODEL is only filled in where methods and implementation are missing too.

    Without a type that it knows the executor never calls the node and sends the request back.
    """
    for predictor in predictors(document):
        for node in nodes(predictor):
            silent = "type" not in node and ("methods" in node or "implementation" in node)
            known = node.get("type", "MODEL") in TYPES or "methods" in node
            if (silent or not known) and not built_in(node):
                yield f"node {node.get('name')} has no known type and will never be called"


def loggers_log_something(document: Fields) -> Iterator[str]:
    """With another word as its mode a logger is accepted and logs nothing."""
    for predictor in predictors(document):
        for node in nodes(predictor):
            mode = (node.get("logger") or {}).get("mode")
            if mode and mode not in ("all", "request", "response"):
                yield f"node {node.get('name')}: its logger's mode {mode!r} is no mode"


def weights_are_shares(document: Fields) -> Iterator[str]:
    """The webhook looks at their sum only, and not even at that where there is one predictor."""
    shares = [p.get("traffic", 0) for p in predictors(document) if not p.get("shadow")]
    if any(not 0 <= share <= 100 for share in shares):
        yield f"the weights {', '.join(map(str, shares))} are not all from 0 to 100"
    elif len(shares) == 1 and shares[0] not in (0, 100):
        yield f"the only predictor that answers takes {shares[0]} per cent"


def the_executor_is_off_or_on(document: Fields) -> Iterator[str]:
    """Any other value of the annotation leaves the executor on, and the webhook strict."""
    for predictor in predictors(document):
        value = (predictor.get("annotations") or {}).get(NO_EXECUTOR, "true")
        if value != "true":
            yield f"predictor {predictor.get('name')} has {NO_EXECUTOR} {value!r}; leave it out"


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


def ports_are_declared(document: Fields) -> Iterator[str]:
    """An undeclared number moves with the other predictors, and pods are replaced with it."""
    for _, _, container in graph_containers(document):
        declared = {port.get("name") for port in container.get("ports") or []}
        for name in FIRST_PORTS:
            if name not in declared:
                yield f"container {container['name']} does not declare its port {name}"


def ports_of_a_pod_differ(document: Fields) -> Iterator[str]:
    for predictor, of_pods in zip(predictors(document), assigned_ports(document), strict=True):
        for index, (pod, of_pod) in enumerate(zip(pods(predictor), of_pods, strict=True)):
            taken = [
                port
                for container, c in zip(pod_containers(pod), of_pod, strict=True)
                for port in (c.http, c.grpc, c.metrics)
                if port and container.get("name") != EXECUTOR
            ]
            taken += EXECUTOR_PORTS.values() if index == 0 and has_executor(predictor) else ()
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


def replicas_are_not_ignored(document: Fields) -> Iterator[str]:
    """The operator drops them beside an autoscaler, so they only mislead the reader."""
    for predictor in predictors(document):
        for pod in pods(predictor):
            fixed = [h for h in (document["spec"], predictor, pod) if "replicas" in h]
            if fixed and ("hpaSpec" in pod or "kedaSpec" in pod):
                yield f"predictor {predictor.get('name')} has replicas beside an autoscaler"


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
            declared = {v["name"] for v in pod.get("spec", {}).get("volumes") or []} | {PODINFO}
            for container in pod_containers(pod):
                for mount in container.get("volumeMounts") or []:
                    if mount["name"] not in declared:
                        yield f"container {container.get('name')} mounts {mount['name']}, not there"


def names_fit(document: Fields) -> Iterator[str]:
    """A name over 63 characters becomes `seldon-` and a checksum, which is hard to recognise."""
    for predictor in predictors(document):
        service = f"{name_of(document)}-{predictor.get('name')}"
        named = [
            (pod.get("metadata") or {}).get("name")
            or "-".join(str(c.get("name")) for c in pod_containers(pod))
            for pod in pods(predictor)
        ]
        for name in (service, *(f"{service}-{i}-{own}" for i, own in enumerate(named))):
            if len(name) > LONGEST_NAME:
                yield f"{name} has {len(name)} characters"


RULES = (
    every_container_is_a_node,
    node_names_differ,
    implementations_are_spelt_right,
    nodes_with_a_container_have_a_type,
    loggers_log_something,
    weights_are_shares,
    the_executor_is_off_or_on,
    values_are_texts,
    no_variable_drops_others,
    annotations_reach_the_pod,
    ports_are_declared,
    ports_of_a_pod_differ,
    pods_name_their_user,
    replicas_are_not_ignored,
    one_autoscaler,
    no_overlapping_budgets,
    volumes_are_declared,
    names_fit,
)
