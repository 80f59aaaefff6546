"""Our rules: what Seldon's executor misreads, or fails on."""

from __future__ import annotations

from collections.abc import Iterator

from tests.manifests.document import (
    EXECUTOR,
    Fields,
    containers,
    environment,
    nodes,
    parameters,
    pods,
    predictors,
)
from tests.manifests.shutdown import TIMEOUTS

ROUTING = "SELDON_ENABLE_ROUTING_INJECTION"
LEAST_TIMEOUT_MS = 1000


def annotations_have_no_equals_sign(document: Fields) -> Iterator[str]:
    """The executor splits at each one, and gives up on all annotations."""
    spec = document.get("spec", {})
    metadata = [pod.get("metadata") or {} for p in predictors(document) for pod in pods(p)]
    for holder in (spec, *predictors(document), *metadata):
        for key, value in (holder.get("annotations") or {}).items():
            if "=" in str(value):
                yield f"{key} holds an equals sign: all annotations are lost"


def timeouts_are_milliseconds(document: Fields) -> Iterator[str]:
    """Below 1 s the wrapper takes 1 s; what is no number ends the wrapper at its start."""
    annotations = document.get("spec", {}).get("annotations") or {}
    for key in TIMEOUTS:
        value = str(annotations.get(key, LEAST_TIMEOUT_MS))
        if not value.isdigit() or int(value) < LEAST_TIMEOUT_MS:
            yield f"{key} is {value!r}; milliseconds are needed, {LEAST_TIMEOUT_MS} at least"


def abtest_has_one_parameter(document: Fields) -> Iterator[str]:
    """With two, the share is silently 0.5."""
    for node in _abtests(document):
        names = [parameter.get("name") for parameter in parameters(node)]
        if names != ["ratioA"]:
            yield f"node {node.get('name')} has {names}; exactly one, ratioA, is honoured"


def ratio_is_a_fraction(document: Fields) -> Iterator[str]:
    for node in _abtests(document):
        for parameter in parameters(node):
            if parameter.get("name") == "ratioA" and not _is_fraction(parameter.get("value")):
                yield f"ratioA is {parameter.get('value')!r}; it goes from 0 to 1"


def abtest_has_two_children(document: Fields) -> Iterator[str]:
    """One child makes the executor panic, a third never gets a request."""
    for node in _abtests(document):
        children = node.get("children") or []
        if len(children) != 2:
            yield f"node {node.get('name')} has {len(children)} children, not 2"


def abtest_has_no_type(document: Fields) -> Iterator[str]:
    """With a type the executor looks for a container that is not there, and panics."""
    for node in _abtests(document):
        if "type" in node:
            yield f"node {node.get('name')} is RANDOM_ABTEST and has the type {node['type']}"


def routers_inject_routing(document: Fields) -> Iterator[str]:
    """Without `meta.routing` in the answer its feedback goes to every child."""
    for predictor in predictors(document):
        routed = [n for n in nodes(predictor) if len(n.get("children") or []) > 1]
        own = [c for c in containers(predictor) if c.get("name") == EXECUTOR]
        value = environment((own or [predictor.get("svcOrchSpec") or {}])[0]).get(ROUTING)
        if routed and value != "true":
            yield f'predictor {predictor.get("name")} routes, but {ROUTING} is not "true"'


def a_bandit_has_one_process(document: Fields) -> Iterator[str]:
    """Each process of a router learns for itself."""
    for predictor in predictors(document):
        remembers_nothing = {
            container.get("name")
            for container in containers(predictor)
            if environment(container).get("SERVICE_TYPE") == "ROUTER"  # ours, by hash
        }
        found = {n.get("name") for n in nodes(predictor) if n.get("type") == "ROUTER"}
        routers = found - remembers_nothing
        if routers and predictor.get("replicas", 1) != 1:
            yield f"predictor {predictor.get('name')} has a router and several replicas"
        for container in containers(predictor):
            workers = environment(container).get("GUNICORN_WORKERS")
            if container.get("name") in routers and workers != "1":
                yield f"router {container.get('name')} has not GUNICORN_WORKERS 1"


def images_have_one_colon(document: Fields) -> Iterator[str]:
    """The label model_version is what follows it; a registry's port would be taken for it."""
    for predictor in predictors(document):
        for container in containers(predictor):
            image = str(container.get("image", ""))
            if image.count(":") != 1 or image.endswith(":latest"):
                yield f"image {image!r} needs one colon and a tag of its own"


def _abtests(document: Fields) -> Iterator[Fields]:
    for predictor in predictors(document):
        yield from (n for n in nodes(predictor) if n.get("implementation") == "RANDOM_ABTEST")


def _is_fraction(value: object) -> bool:
    try:
        return 0 <= float(str(value)) <= 1
    except ValueError:
        return False


RULES = (
    annotations_have_no_equals_sign,
    timeouts_are_milliseconds,
    abtest_has_one_parameter,
    ratio_is_a_fraction,
    abtest_has_two_children,
    abtest_has_no_type,
    routers_inject_routing,
    a_bandit_has_one_process,
    images_have_one_colon,
)
