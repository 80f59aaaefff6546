"""What Seldon's validating webhook refuses, one rule a function.

The webhook of 1.19 (seldondeployment_webhook.go) is not at hand, so its rules are written anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from tests.manifests.document import Fields, built_in, containers, name_of, nodes, predictors

PREPACKAGED = {
    "SKLEARN_SERVER", "XGBOOST_SERVER", "TENSORFLOW_SERVER", "MLFLOW_SERVER", "TRITON_SERVER",
    "HUGGINGFACE_SERVER", "TEMPO_SERVER",
}  # fmt: skip
"""Servers in the operator's default configuration; every word that is none of them is refused."""

PROTOCOLS = {"seldon", "tensorflow", "kfserving", "v2"}
TRANSPORTS = {"rest", "grpc"}
SERVER_TYPES = {"rpc", "kafka"}


def there_is_a_predictor(document: Fields) -> Iterator[str]:
    if not predictors(document):
        yield "spec.predictors is empty"


def predictor_names_differ(document: Fields) -> Iterator[str]:
    for name in _doubles(p.get("name") for p in predictors(document)):
        yield f"two predictors are named {name}"


def service_names_differ(document: Fields) -> Iterator[str]:
    key = "seldon.io/svc-name"
    named = [(p.get("annotations") or {}).get(key) for p in predictors(document)]
    for name in _doubles(n for n in named if n):
        yield f"two predictors have the {key} {name}"


def implementations_are_known(document: Fields) -> Iterator[str]:
    """A word that the executor does not know counts as the name of a prepackaged server."""
    for predictor in predictors(document):
        for node in nodes(predictor):
            word = node.get("implementation")
            if not word or built_in(node) or word == "UNKNOWN_IMPLEMENTATION":
                continue
            if word not in PREPACKAGED:
                yield f"node {node.get('name')}: no server is named {word}"
            elif not node.get("modelUri"):
                yield f"node {node.get('name')}: {word} needs a modelUri"


def every_node_has_a_container(document: Fields) -> Iterator[str]:
    for predictor in predictors(document):
        names = {c.get("name") for c in containers(predictor)}
        for node in nodes(predictor):
            server = node.get("implementation") in PREPACKAGED
            if not built_in(node) and not server and node.get("name") not in names:
                yield f"node {node.get('name')} has no container of that name"


def types_are_known(document: Fields) -> Iterator[str]:
    for predictor in predictors(document):
        for node in nodes(predictor):
            if node.get("type") == "UNKNOWN_TYPE" and not node.get("methods"):
                yield f"node {node.get('name')}: UNKNOWN_TYPE needs methods"


def loggers_have_a_mode(document: Fields) -> Iterator[str]:
    for predictor in predictors(document):
        for node in nodes(predictor):
            logger = node.get("logger")
            if logger is not None and logger.get("mode") not in ("all", "request", "response"):
                yield f"node {node.get('name')}: its logger needs a mode"


def traffic_sums_to_100(document: Fields) -> Iterator[str]:
    shares = [p.get("traffic", 0) for p in predictors(document) if not p.get("shadow")]
    if len(shares) > 1 and sum(shares) != 100:
        yield f"the weights {' + '.join(map(str, shares))} are {sum(shares)}, not 100"
    if len(shares) == 1 and shares[0] not in (0, 100):
        yield f"the only predictor takes {shares[0]} per cent"


def a_shadow_has_company(document: Fields) -> Iterator[str]:
    shadows = [p for p in predictors(document) if p.get("shadow")]
    if len(shadows) > 1:
        yield f"{len(shadows)} predictors are shadows, one is allowed"
    if shadows and len(shadows) == len(predictors(document)):
        yield "the only predictor is a shadow"
    for shadow in shadows:
        if not 0 <= shadow.get("traffic", 0) <= 100:
            yield f"the shadow's traffic is {shadow['traffic']} per cent"


def without_executor_one_node(document: Fields) -> Iterator[str]:
    for predictor in predictors(document):
        off = (predictor.get("annotations") or {}).get("seldon.io/no-engine") == "true"
        if off and len(list(nodes(predictor))) > 1:
            yield f"predictor {predictor.get('name')} has no executor but several nodes"


def endpoints_are_of_one_type(document: Fields) -> Iterator[str]:
    types = {
        str(node["endpoint"]["type"])
        for predictor in predictors(document)
        for node in nodes(predictor)
        if (node.get("endpoint") or {}).get("type")
    }
    if len(types) > 1:
        yield f"endpoints are {' and '.join(sorted(types))}"


def words_of_spec_are_known(document: Fields) -> Iterator[str]:
    spec = document.get("spec", {})
    allowed = {"protocol": PROTOCOLS, "transport": TRANSPORTS, "serverType": SERVER_TYPES}
    for field, words in allowed.items():
        if spec.get(field) and spec[field] not in words:
            yield f"spec.{field} is {spec[field]}, not one of {', '.join(sorted(words))}"


def names_fit(document: Fields) -> Iterator[str]:
    """A name over 63 characters becomes `seldon-` and a checksum, which nobody recognises."""
    for predictor in predictors(document):
        service = f"{name_of(document)}-{predictor.get('name')}"
        joined = "-".join(str(c.get("name")) for c in containers(predictor))
        for name in (service, f"{service}-0-{joined}"):
            if len(name) > 63:
                yield f"{name} has {len(name)} characters"


def _doubles(names: Iterable[Any]) -> list[Any]:
    return [name for name, count in Counter(names).items() if count > 1]


RULES = (
    there_is_a_predictor,
    predictor_names_differ,
    service_names_differ,
    implementations_are_known,
    every_node_has_a_container,
    types_are_known,
    loggers_have_a_mode,
    traffic_sums_to_100,
    a_shadow_has_company,
    without_executor_one_node,
    endpoints_are_of_one_type,
    words_of_spec_are_known,
    names_fit,
)
