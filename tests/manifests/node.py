"""Our rules: what this project asks of a pod that runs one of its models in production."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from seldon_core.flask_utils import SeldonMicroserviceException
from seldon_core.microservice import parse_parameters

from roberta_sentiment.errors import SettingsError
from roberta_sentiment.model.artifact import MOUNTED_MODEL
from roberta_sentiment.settings import ENVIRONMENT_PREFIX, Settings
from scripts.serve import image_environment
from seldon_node.hash_router import HashRouter
from tests.manifests.document import (
    EXECUTOR,
    Fields,
    environment,
    nodes,
    parameters,
    pod_containers,
    pods,
    predictors,
)

IMAGE = "roberta-sentiment"
HASH_ROUTER = f"{HashRouter.__module__}.{HashRouter.__qualname__}"

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
HEALTH = "/health/status"
LOCKS = {
    "runAsNonRoot": True, "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip
LEAST_START_S = 40
"""Seconds that a start may take on a busy machine, after PREPARE_SECONDS for before-run."""

PREPARED_MODEL_BYTES = 2**30
"""Room in /tmp for the derived files of a model that the image does not bring."""

_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def settings_of(node: Fields, container: Fields) -> Settings:
    """The real settings object, as the wrapper would make it from this manifest.

    Raises:
        SettingsError: the server would not start.
    """
    try:
        given = parse_parameters(parameters(node))
    except SeldonMicroserviceException as error:
        raise SettingsError(error.message) from None
    if environment(container).get("MODEL_NAME") == HASH_ROUTER:
        try:
            HashRouter(**given)
        except (SystemExit, TypeError) as error:
            raise SettingsError(str(error)) from None
        return Settings()
    return Settings.read(given, {**image_environment(), **environment(container)})


def parameters_are_settings(document: Fields) -> Iterator[str]:
    for node, container, _ in _ours(document):
        try:
            settings_of(node, container)
        except SettingsError as error:
            yield f"node {node['name']}: {error.message}"


def variables_are_settings(document: Fields) -> Iterator[str]:
    """The server only warns of a misspelling, as Kubernetes may name Services like settings."""
    known = {ENVIRONMENT_PREFIX + field.upper() for field in Settings.__dataclass_fields__}
    for _, container, _ in _ours(document):
        for name in environment(container):
            if name.startswith(ENVIRONMENT_PREFIX) and name not in known:
                yield f"{container['name']} sets {name}, which is no setting"


def queue_is_shorter_than_threads(document: Fields) -> Iterator[str]:
    """Else a full queue holds every thread, and the probe waits behind it."""
    for settings, node, variables in _readable(document):
        threads = min(int(variables["GUNICORN_THREADS"]), int(variables["GRPC_THREADS"]))
        if settings.max_queue >= threads:
            yield f"node {node['name']}: max_queue is {settings.max_queue}, threads are {threads}"


def message_sizes_agree(document: Fields) -> Iterator[str]:
    """The annotation wins on gRPC, the setting on REST."""
    key = "seldon.io/grpc-max-message-size"
    size = (document["spec"].get("annotations") or {}).get(key)
    for settings, node, _ in _readable(document):
        if size != str(settings.max_body_bytes):
            yield f"{key} is {size}, node {node['name']} takes {settings.max_body_bytes} bytes"


def a_mounted_model_is_asked_for(document: Fields) -> Iterator[str]:
    """Without the parameter a failed copy would be served around, by the embedded model."""
    for node, _, _ in _ours(document):
        asked = any(p == _parameter("model_uri", str(MOUNTED_MODEL)) for p in parameters(node))
        if asked != ("modelUri" in node):
            yield f"node {node['name']} has only one of modelUri and model_uri {MOUNTED_MODEL}"


def probes_ask_for_the_truth(document: Fields) -> Iterator[str]:
    """The operator's own only ask whether the port is open, which is so before the load."""
    for _, container, _ in _ours(document):
        for probe in PROBES:
            asked = (container.get(probe) or {}).get("httpGet")
            if asked != {"path": HEALTH, "port": "http"}:
                yield f"{probe} of {container['name']} asks {asked}, not {HEALTH} on http"


def a_restart_comes_last(document: Fields) -> Iterator[str]:
    """A start has its time, and a busy node loses traffic long before it is restarted."""
    for _, container, _ in _ours(document):
        start, ready, live = (_failure_delay_s(container.get(probe) or {}) for probe in PROBES)
        prepare = int({**image_environment(), **environment(container)}["PREPARE_SECONDS"])
        if start < prepare + LEAST_START_S or live < 4 * ready:
            yield f"{container['name']} gets {start} s to start, {ready} s and {live} s when red"


def service_links_and_token_are_off(document: Fields) -> Iterator[str]:
    """No variable for each Service of the namespace, and no token of the API server."""
    for predictor in predictors(document):
        for pod in pods(predictor):
            for field in ("enableServiceLinks", "automountServiceAccountToken"):
                if pod.get("spec", {}).get(field) is not False:
                    yield f"a pod of {predictor.get('name')} has not {field}: false"


def a_failed_start_is_explained(document: Fields) -> Iterator[str]:
    """`kubectl describe` shows the last lines of the log, which say why."""
    for predictor in predictors(document):
        for pod in pods(predictor):
            own = pod.get("spec", {}).get("initContainers") or []
            for container in (*pod_containers(pod), *own):
                if container.get("terminationMessagePolicy") != "FallbackToLogsOnError":
                    yield f"{container.get('name')} ends without a message"


def privileges_are_dropped(document: Fields) -> Iterator[str]:
    for _, container, _ in _ours(document):
        context = container.get("securityContext") or {}
        for field, value in LOCKS.items():
            if context.get(field) != value:
                yield f"{container['name']}: securityContext.{field} is {context.get(field)}"


def tmp_is_its_own(document: Fields) -> Iterator[str]:
    """It is the one place to write; shared, the control sockets of two servers would collide."""
    for predictor in predictors(document):
        for pod in pods(predictor):
            used = [_tmp(container) for container in pod_containers(pod)]
            for container, name in zip(pod_containers(pod), used, strict=True):
                if container.get("name") == EXECUTOR:
                    continue  # it writes nothing
                if name is None or used.count(name) > 1 or "sizeLimit" not in _empty(pod, name):
                    yield f"{container.get('name')} has no limited emptyDir of its own on /tmp"


def tmp_holds_derived_files(document: Fields) -> Iterator[str]:
    """Over its limit the pod is evicted, and the next one too."""
    for node, container, pod in _ours(document):
        room = _bytes(_empty(pod, _tmp(container)).get("sizeLimit", "0Mi"))
        if "modelUri" in node and room < PREPARED_MODEL_BYTES:
            yield f"{container['name']}: /tmp of {room} bytes may not hold what is made of a model"


def resources_are_stated(document: Fields) -> Iterator[str]:
    """Memory requested is memory had; without a CPU limit the model takes all CPUs of the node."""
    for _, container, _ in _ours(document):
        asked = container.get("resources") or {}
        requests, limits = asked.get("requests") or {}, asked.get("limits") or {}
        if "cpu" not in requests or "cpu" not in limits or "memory" not in limits:
            yield f"{container['name']} leaves cpu or memory open"
        elif requests.get("memory") != limits["memory"]:
            yield f"{container['name']} may be killed below its memory limit"


def _ours(document: Fields) -> Iterator[tuple[Fields, Fields, Fields]]:
    """Node, container and pod of every model of this project."""
    for predictor in predictors(document):
        by_name = {node.get("name"): node for node in nodes(predictor)}
        for pod in pods(predictor):
            for container in pod_containers(pod):
                if str(container.get("image", "")).startswith(IMAGE):
                    yield by_name.get(container.get("name"), {"name": "?"}), container, pod


def _readable(document: Fields) -> Iterator[tuple[Settings, Fields, dict[str, Any]]]:
    """Settings, node and variables of every model whose settings are no nonsense."""
    for node, container, _ in _ours(document):
        try:
            settings = settings_of(node, container)
        except SettingsError:
            continue
        yield settings, node, {**image_environment(), **environment(container)}


def _parameter(name: str, value: str) -> Fields:
    return {"name": name, "type": "STRING", "value": value}


def _failure_delay_s(probe: Fields) -> int:
    """Seconds until a probe that fails has an effect."""
    return int(probe.get("periodSeconds", 0)) * int(probe.get("failureThreshold", 0))


def _tmp(container: Fields) -> str | None:
    """The volume on /tmp."""
    mounts = container.get("volumeMounts") or []
    return next((m["name"] for m in mounts if m["mountPath"] == "/tmp"), None)  # noqa: S108


def _empty(pod: Fields, name: str | None) -> Fields:
    """The emptyDir of a volume, nothing if it is of another kind or not there."""
    volumes = pod["spec"].get("volumes") or []
    return next((v.get("emptyDir") or {} for v in volumes if v["name"] == name), {})


def _bytes(quantity: str) -> int:
    return int(quantity[:-2]) * _UNITS[quantity[-2:]]


RULES = (
    parameters_are_settings,
    variables_are_settings,
    queue_is_shorter_than_threads,
    message_sizes_agree,
    a_mounted_model_is_asked_for,
    probes_ask_for_the_truth,
    a_restart_comes_last,
    service_links_and_token_are_off,
    a_failed_start_is_explained,
    privileges_are_dropped,
    tmp_is_its_own,
    tmp_holds_derived_files,
    resources_are_stated,
)
