"""Seldon's rules: what the validating webhook of release 1.19 refuses, no more and no less.

What it lets pass and we do not want stands with our own rules, in the other modules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from tests.manifests.document import (
    NO_EXECUTOR,
    SERVICE_NAME,
    Fields,
    built_in,
    containers,
    nodes,
    predictors,
)

PREPACKAGED = {
    "SKLEARN_SERVER", "XGBOOST_SERVER", "TENSORFLOW_SERVER", "MLFLOW_SERVER", "TRITON_SERVER",
    "HUGGINGFACE_SERVER", "TEMPO_SERVER",
}  # fmt: skip
"""Servers in the configuration that the Helm chart gives the operator."""

LOADS_BY_ITSELF = {"HUGGINGFACE_SERVER"}
NOT_FOR_TENSORFLOW = {"SKLEARN_SERVER", "XGBOOST_SERVER", "MLFLOW_SERVER", "HUGGINGFACE_SERVER"}
CUSTOM = "UNKNOWN_IMPLEMENTATION"
PROTOCOLS = {"seldon", "tensorflow", "kfserving", "v2"}
TRANSPORTS = {"rest", "grpc"}
SERVER_TYPES = {"rpc", "kafka"}
KAFKA_VARIABLES = {"KAFKA_BROKER", "KAFKA_INPUT_TOPIC", "KAFKA_OUTPUT_TOPIC"}


def there_is_a_predictor(document: Fields) -> Iterator[str]:
    if not predictors(document):
        yield "spec.predictors is empty"


def predictor_names_differ(document: Fields) -> Iterator[str]:
    for name in _doubles(p.get("name") for p in predictors(document)):
        yield f"two predictors are named {name}"


def service_names_differ(document: Fields) -> Iterator[str]:
    """The empty name counts as one."""
    named = [p.get("annotations") or {} for p in predictors(document)]
    for name in _doubles(a[SERVICE_NAME] for a in named if SERVICE_NAME in a):
        yield f"two predictors have the {SERVICE_NAME} {name!r}"


def every_node_has_a_container(document: Fields) -> Iterator[str]:
    """Every node without an implementation; `implementation: ""` passes."""
    for predictor, node in _nodes(document):
        if _is_custom(node) and _container(predictor, node) is None:
            yield f"node {node.get('name')} has no container of that name"


def types_are_known(document: Fields) -> Iterator[str]:
    """UNKNOWN_TYPE needs methods where there is no implementation; other words all pass."""
    for _, node in _nodes(document):
        if _is_custom(node) and node.get("type") == "UNKNOWN_TYPE" and not node.get("methods"):
            yield f"node {node.get('name')}: UNKNOWN_TYPE needs methods"


def implementations_are_known(document: Fields) -> Iterator[str]:
    """A word that the executor does not know is the name of a prepackaged server.

    Such a node needs a model, and an image of its own or from the operator's configuration.
    """
    for predictor, node in _nodes(document):
        word = node.get("implementation")
        if not _is_prepackaged(node):
            continue
        if not node.get("modelUri") and word not in LOADS_BY_ITSELF:
            yield f"node {node.get('name')}: {word} needs a modelUri"
        if not (_container(predictor, node) or {}).get("image") and word not in PREPACKAGED:
            yield f"node {node.get('name')}: no server is named {word}"


def servers_speak_the_protocol(document: Fields) -> Iterator[str]:
    for _, node in _nodes(document):
        tensorflow = document["spec"].get("protocol") == "tensorflow"
        if tensorflow and node.get("implementation") in NOT_FOR_TENSORFLOW:
            yield f"node {node.get('name')}: its server does not speak the protocol tensorflow"


def loggers_have_a_mode(document: Fields) -> Iterator[str]:
    """Any word will do."""
    for _, node in _nodes(document):
        logger = node.get("logger")
        if logger is not None and not logger.get("mode"):
            yield f"node {node.get('name')}: its logger needs a mode"


def traffic_sums_to_100(document: Fields) -> Iterator[str]:
    """Single weights are not checked; that of an only predictor is, from 1 to 99."""
    shares = [p.get("traffic", 0) for p in predictors(document) if not p.get("shadow")]
    if len(shares) > 1 and sum(shares) != 100:
        yield f"the weights {' + '.join(map(str, shares))} are {sum(shares)}, not 100"
    if len(predictors(document)) == 1 and 0 < sum(shares) < 100:
        yield f"the only predictor takes {sum(shares)} per cent"


def a_shadow_has_a_live_predictor(document: Fields) -> Iterator[str]:
    shadows = [p for p in predictors(document) if p.get("shadow")]
    if len(shadows) > 1:
        yield f"{len(shadows)} predictors are shadows, one is allowed"
    if shadows and len(predictors(document)) == 1:
        yield "the only predictor is a shadow"
    for shadow in shadows:
        if not 0 <= shadow.get("traffic", 0) <= 100:
            yield f"the shadow's traffic is {shadow['traffic']} per cent"


def without_executor_one_node(document: Fields) -> Iterator[str]:
    """The annotation counts by being there, whatever its value, even "false"."""
    for predictor in predictors(document):
        off = NO_EXECUTOR in (predictor.get("annotations") or {})
        if off and len(list(nodes(predictor))) > 1:
            yield f"predictor {predictor.get('name')} has {NO_EXECUTOR} and several nodes"


def endpoints_are_of_one_type(document: Fields) -> Iterator[str]:
    """One type in all predictors, and that of `spec.transport`."""
    given = [(node.get("endpoint") or {}).get("type") for _, node in _nodes(document)]
    types = {str(word) for word in given if word}
    transport = document["spec"].get("transport")
    if len(types) > 1:
        yield f"endpoints are {' and '.join(sorted(types))}"
    elif types & {"REST", "GRPC"} and transport and types != {transport.upper()}:
        yield f"endpoints are {types.pop()}, spec.transport is {transport}"


def words_of_spec_are_known(document: Fields) -> Iterator[str]:
    spec = document.get("spec", {})
    allowed = {"protocol": PROTOCOLS, "transport": TRANSPORTS, "serverType": SERVER_TYPES}
    for field, words in allowed.items():
        if spec.get(field) and spec[field] not in words:
            yield f"spec.{field} is {spec[field]}, not one of {', '.join(sorted(words))}"


def kafka_has_its_variables(document: Fields) -> Iterator[str]:
    """Three entries of these names, whatever their values; one that is given twice counts twice."""
    if document["spec"].get("serverType") != "kafka":
        return
    for predictor in predictors(document):
        entries = (predictor.get("svcOrchSpec") or {}).get("env") or []
        if sum(entry.get("name") in KAFKA_VARIABLES for entry in entries) < len(KAFKA_VARIABLES):
            yield f"predictor {predictor.get('name')} lacks {', '.join(sorted(KAFKA_VARIABLES))}"


def _nodes(document: Fields) -> Iterator[tuple[Fields, Fields]]:
    for predictor in predictors(document):
        yield from ((predictor, node) for node in nodes(predictor))


def _is_custom(node: Fields) -> bool:
    """Whether a container of the manifest does the node's work."""
    return node.get("implementation") in (None, CUSTOM)


def _is_prepackaged(node: Fields) -> bool:
    return bool(node.get("implementation")) and not built_in(node) and not _is_custom(node)


def _container(predictor: Fields, node: Fields) -> Fields | None:
    return next((c for c in containers(predictor) if c.get("name") == node.get("name")), None)


def _doubles(names: Iterable[Any]) -> list[Any]:
    return [name for name, count in Counter(names).items() if count > 1]


RULES = (
    there_is_a_predictor,
    predictor_names_differ,
    service_names_differ,
    every_node_has_a_container,
    types_are_known,
    implementations_are_known,
    servers_speak_the_protocol,
    loggers_have_a_mode,
    traffic_sums_to_100,
    a_shadow_has_a_live_predictor,
    without_executor_one_node,
    endpoints_are_of_one_type,
    words_of_spec_are_known,
    kafka_has_its_variables,
)
