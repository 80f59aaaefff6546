"""Deliberate mistakes: what is changed in which manifest, and the rules that must say so."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from tests.manifests.document import FIRST_PORTS, Fields
from tests.manifests.node import LOCKS
from tests.manifests.operator import DROPS_OTHERS

DELETED = object()
AB, SPLIT, BANDIT, SHADOW = "ab-test", "two-predictors", "bandit", "shadow"
ONE, LOGGED, DIRECT, REST, HPA = (
    "model-uri-s3", "request-logging", "without-executor", "rest-only", "autoscaling-hpa",
)  # fmt: skip
PREDICTOR = "spec.predictors.0"
GRAPH, CHILDREN = f"{PREDICTOR}.graph", f"{PREDICTOR}.graph.children"
COMPONENT = f"{PREDICTOR}.componentSpecs.0"
POD = f"{COMPONENT}.spec"
CONTAINERS = f"{POD}.containers"
CONTAINER = f"{CONTAINERS}.0"
ANNOTATIONS = "spec.annotations"
LOSSLESS, LOSSLESS_AB = "lossless-rollout", "lossless-ab-test"
OWN, METADATA = f"{CONTAINERS}.1", f"{COMPONENT}.metadata"
LABELS, GRAPH_FILE = f"{METADATA}.labels", f"{METADATA}.annotations.{{graph.yaml}}"
ROUTING = "SELDON_ENABLE_ROUTING_INJECTION"


@dataclasses.dataclass(frozen=True)
class Mistake:
    """One mistake in a manifest.

    Attributes:
        title: what was done.
        manifest: name of the file in deploy/.
        changes: new value by dotted path; the index after the last one appends.
        rules: names of exactly the rules that complain.
    """

    title: str
    manifest: str
    changes: Mapping[str, Any]
    rules: frozenset[str]

    def made_in(self, document: Fields) -> Fields:
        """A copy of a manifest with the mistake in it."""
        changed = copy.deepcopy(document)
        for path, value in self.changes.items():
            change(changed, path, value)
        return changed


def change(document: Any, path: str, value: Any) -> None:
    """Set, append or delete the value at a dotted path."""
    *way, last = re.split(r"\.(?![^{]*})", path)
    for step in way:
        document = document[int(step)] if isinstance(document, list) else document[step]
    key: Any = int(last) if isinstance(document, list) else last.strip("{}")
    if value is DELETED:
        del document[key]
    elif isinstance(document, list) and key == len(document):
        document.append(value)
    else:
        document[key] = value


def _mistake(title: str, manifest: str, changes: Mapping[str, Any], *rules: str) -> Mistake:
    return Mistake(title, manifest, changes, frozenset(rules))


def _int(name: str, value: object) -> Fields:
    return {"name": name, "type": "INT", "value": value}


def _variable(name: str, value: object) -> list[Fields]:
    return [{"name": name, "value": value}]


def _annotation(name: str) -> str:
    return f"{ANNOTATIONS}.{{seldon.io/{name}}}"


_SIDECAR = {"name": "sidecar", "image": "busybox:1.36"}

# fmt: off
WEBHOOK = [
    _mistake("no predictor", AB, {"spec.predictors": []}, "there_is_a_predictor"),
    _mistake("two predictors of one name", SPLIT, {"spec.predictors.1.name": "roberta"},
             "predictor_names_differ"),
    _mistake("two services of one name", SPLIT,
             {"spec.predictors.0.annotations": {"seldon.io/svc-name": "sentiment"},
              "spec.predictors.1.annotations": {"seldon.io/svc-name": "sentiment"}},
             "service_names_differ"),
    _mistake("typo in implementation", AB, {f"{GRAPH}.implementation": "RANDOM_ABTST"},
             "implementations_are_known", "implementations_are_spelt_right",
             "nodes_with_a_container_have_a_type"),
    _mistake("prepackaged server without a model", DIRECT,
             {f"{GRAPH}.implementation": "SKLEARN_SERVER"}, "implementations_are_known"),
    _mistake("container name that is no node", AB, {f"{CONTAINER}.name": "robertta"},
             "every_node_has_a_container", "every_container_is_a_node"),
    _mistake("type without methods", DIRECT, {f"{GRAPH}.type": "UNKNOWN_TYPE"}, "types_are_known",
             "nodes_with_a_container_have_a_type"),
    _mistake("server of another protocol", ONE,
             {"spec.protocol": "tensorflow", f"{GRAPH}.implementation": "SKLEARN_SERVER"},
             "servers_speak_the_protocol"),
    _mistake("kafka without its variables", REST, {"spec.serverType": "kafka"},
             "kafka_has_its_variables"),
    _mistake("logger without a mode", LOGGED, {f"{GRAPH}.logger.mode": DELETED},
             "loggers_have_a_mode"),
    _mistake("traffic sums to 95", SPLIT, {f"{PREDICTOR}.traffic": 70}, "traffic_sums_to_100"),
    _mistake("half the traffic for the only one", DIRECT, {f"{PREDICTOR}.traffic": 50},
             "traffic_sums_to_100", "weights_are_shares"),
    _mistake("shadow alone", SHADOW, {PREDICTOR: DELETED}, "a_shadow_has_a_live_predictor"),
    _mistake("shadow of 150 per cent", SHADOW, {"spec.predictors.1.traffic": 150},
             "a_shadow_has_a_live_predictor"),
    _mistake("router without an executor", AB,
             {f"{PREDICTOR}.annotations": {"seldon.io/no-engine": "true"}},
             "without_executor_one_node"),
    _mistake("endpoints of two types", AB,
             {f"{CHILDREN}.0.endpoint": {"type": "REST"},
              f"{CHILDREN}.1.endpoint": {"type": "GRPC"}},
             "endpoints_are_of_one_type"),
    _mistake("unknown transport", REST, {"spec.transport": "http"}, "words_of_spec_are_known"),
]

OPERATOR = [
    _mistake("name that becomes a checksum", AB, {"metadata.name": "sentiment" * 6},
             "names_fit"),
    _mistake("typo in implementation beside a model", ONE,
             {f"{GRAPH}.implementation": "SKLEARN_SERVR"}, "implementations_are_spelt_right"),
    _mistake("typo in a logger's mode", LOGGED, {f"{GRAPH}.logger.mode": "al"},
             "loggers_log_something"),
    _mistake("weights beyond 100", SPLIT,
             {f"{PREDICTOR}.traffic": 150, "spec.predictors.1.traffic": -50}, "weights_are_shares"),
    _mistake("executor switched on by a word", DIRECT,
             {f"{PREDICTOR}.annotations.{{seldon.io/no-engine}}": "false"},
             "the_executor_is_off_or_on", "timeouts_are_granted", "prestop_outlasts_the_executor"),
    _mistake("container beside the graph", DIRECT, {f"{CONTAINERS}.1": _SIDECAR},
             "every_container_is_a_node", "tmp_is_its_own", "a_failed_start_is_explained"),
    _mistake("two nodes of one name", AB, {f"{CHILDREN}.1.name": "roberta"},
             "node_names_differ", "every_container_is_a_node"),
    _mistake("node without a type", DIRECT,
             {f"{GRAPH}.type": DELETED, f"{GRAPH}.implementation": "UNKNOWN_IMPLEMENTATION"},
             "nodes_with_a_container_have_a_type"),
    _mistake("number instead of string", AB, {f"{CHILDREN}.0.parameters.1.value": 256},
             "values_are_texts"),
    _mistake("number as a variable", REST, {f"{CONTAINER}.env.0.value": 0}, "values_are_texts"),
    *(
        _mistake(f"{name} set by hand", DIRECT, {f"{CONTAINER}.env": _variable(name, "9000")},
                 "no_variable_drops_others")
        for name in sorted(DROPS_OTHERS)
    ),
    _mistake("timeout under metadata", AB,
             {"metadata.annotations": {"seldon.io/rest-timeout": "60000"}},
             "annotations_reach_the_pod"),
    _mistake("one metrics port for two", AB,
             {f"{CONTAINERS}.1.ports.2.containerPort": 6000},
             "ports_of_a_pod_differ"),
    *(
        _mistake(f"port {name} left to the operator", SPLIT,
                 {f"{CONTAINER}.ports.{index}": DELETED}, "ports_are_declared")
        for index, name in enumerate(FIRST_PORTS)
    ),
    _mistake("executor's port taken", ONE, {f"{CONTAINER}.ports.0.containerPort": 8000},
             "ports_of_a_pod_differ"),
    _mistake("pod without a user", AB, {f"{POD}.securityContext.runAsUser": DELETED},
             "pods_name_their_user"),
    _mistake("replicas beside an autoscaler", HPA, {f"{PREDICTOR}.replicas": 3},
             "replicas_are_not_ignored"),
    _mistake("two autoscalers", HPA, {f"{COMPONENT}.kedaSpec": {"triggers": []}},
             "one_autoscaler"),
    _mistake("budget of the operator's", SPLIT, {f"{COMPONENT}.pdbSpec": {"maxUnavailable": 1}},
             "no_overlapping_budgets"),
    _mistake("volume that is not there", DIRECT, {f"{POD}.volumes": DELETED},
             "volumes_are_declared", "tmp_is_its_own"),
]

EXECUTOR = [
    _mistake("equals sign in an annotation", AB, {f"{ANNOTATIONS}.note": "owner=reviews"},
             "annotations_have_no_equals_sign"),
    _mistake("equals sign at a predictor", AB, {f"{PREDICTOR}.annotations": {"note": "a=b"}},
             "annotations_have_no_equals_sign"),
    _mistake("timeout with a unit", AB, {_annotation("rest-timeout"): "60s"},
             "timeouts_are_milliseconds"),
    _mistake("timeout in seconds", AB, {_annotation("grpc-timeout"): "60"},
             "timeouts_are_milliseconds"),
    _mistake("second parameter on the A/B node", AB, {f"{GRAPH}.parameters.1": _int("seed", "1")},
             "abtest_has_one_parameter"),
    _mistake("ratioA of 70", AB, {f"{GRAPH}.parameters.0.value": "70"}, "ratio_is_a_fraction"),
    _mistake("ratioA with a comma", AB, {f"{GRAPH}.parameters.0.value": "0,7"},
             "ratio_is_a_fraction"),
    _mistake("A/B test of one", AB,
             {f"{CHILDREN}.1": DELETED, f"{CONTAINERS}.1": DELETED}, "abtest_has_two_children"),
    _mistake("type on the A/B node", AB, {f"{GRAPH}.type": "MODEL"}, "abtest_has_no_type"),
    _mistake("no routing in the answers", AB, {f"{PREDICTOR}.svcOrchSpec": DELETED},
             "routers_inject_routing"),
    _mistake("routing that looks switched off", AB,
             {f"{PREDICTOR}.svcOrchSpec.env.0.value": "false"}, "routers_inject_routing"),
    _mistake("bandit with two memories", BANDIT, {f"{PREDICTOR}.replicas": 2},
             "a_bandit_has_one_process"),
    _mistake("bandit with two workers", BANDIT, {f"{CONTAINER}.env.0.value": "2"},
             "a_bandit_has_one_process"),
    _mistake("image without a tag", DIRECT, {f"{CONTAINER}.image": "roberta-sentiment"},
             "images_have_one_colon"),
]

OWN_EXECUTOR = [
    *(
        _mistake(f"own executor with another {option}", LOSSLESS,
                 {f"{OWN}.args.{2 * index + 1}": "other"}, "it_gets_its_arguments")
        for index, option in enumerate((
            "sdep", "namespace", "predictor", "http_port", "grpc_port", "protocol", "transport",
            "prometheus_path", "server_type",
        ))
    ),
    _mistake("own executor without arguments", LOSSLESS, {f"{OWN}.args": DELETED},
             "it_gets_its_arguments", "it_stops_late", "its_file_comes_from_an_annotation",
             "timeouts_are_granted"),
    _mistake("delay without a unit", LOSSLESS, {f"{OWN}.args.19": "10"}, "it_stops_late"),
    _mistake("no delay", LOSSLESS, {f"{OWN}.args.18": "--verbose"}, "it_stops_late"),
    _mistake("Seldon's own time to end", LOSSLESS, {f"{OWN}.args.20": "--verbose"},
             "it_stops_late", "timeouts_are_granted"),
    _mistake("executor that ends before its requests", LOSSLESS, {f"{OWN}.args.21": "20s"},
             "timeouts_are_granted"),
    _mistake("node that sleeps as long as its executor", LOSSLESS,
             {f"{CONTAINER}.lifecycle.preStop.exec.command.2": "sleep 10"},
             "prestop_outlasts_the_executor"),
    _mistake("delay in minutes", LOSSLESS, {f"{OWN}.args.19": "1m"},
             "prestop_outlasts_the_executor", "timeouts_are_granted", "grace_covers_the_end"),
    _mistake("executor longer than the pod's grace", LOSSLESS, {f"{OWN}.args.21": "50s"},
             "grace_covers_the_end"),
    _mistake("executor's metrics under another name", LOSSLESS, {f"{OWN}.ports.0.name": "http"},
             "it_opens_its_ports"),
    _mistake("executor without gRPC", LOSSLESS, {f"{OWN}.ports.1": DELETED}, "it_opens_its_ports"),
    _mistake("executor that is not probed", LOSSLESS, {f"{OWN}.readinessProbe": DELETED},
             "it_is_probed"),
    _mistake("executor that asks the node's health", LOSSLESS,
             {f"{OWN}.livenessProbe.httpGet.path": "/health/status"}, "it_is_probed"),
    _mistake("executor without timeouts", LOSSLESS, {f"{OWN}.volumeMounts.0": DELETED},
             "it_reads_the_annotations"),
    _mistake("executor without its graph", LOSSLESS, {f"{OWN}.volumeMounts.1": DELETED},
             "its_file_comes_from_an_annotation"),
    _mistake("reference without a version", LOSSLESS,
             {f"{POD}.volumes.1.downwardAPI.items.0.fieldRef.apiVersion": DELETED},
             "its_file_comes_from_an_annotation"),
    _mistake("reference to another annotation", LOSSLESS,
             {f"{POD}.volumes.1.downwardAPI.items.0.fieldRef.fieldPath":
              "metadata.annotations['graph']"}, "its_file_comes_from_an_annotation"),
    _mistake("graph that is no YAML", LOSSLESS, {GRAPH_FILE: "spec: {"},
             "its_graph_is_the_manifests"),
    _mistake("equals sign in the graph's file", LOSSLESS,
             {GRAPH_FILE: "# names=roberta"}, "its_graph_is_the_manifests",
             "annotations_have_no_equals_sign"),
    _mistake("port that the file does not know", LOSSLESS,
             {f"{CONTAINER}.ports.0.containerPort": 9100}, "its_graph_is_the_manifests"),
    _mistake("image that the file does not know", LOSSLESS,
             {f"{CONTAINER}.image": "roberta-sentiment:0.2.0"}, "its_graph_is_the_manifests"),
    _mistake("share that the file does not know", LOSSLESS_AB,
             {f"{GRAPH}.parameters.0.value": "0.9"}, "its_graph_is_the_manifests"),
    _mistake("children in another order than in the file", LOSSLESS_AB,
             {f"{CHILDREN}.0.name": "lexicon", f"{CHILDREN}.1.name": "roberta"},
             "its_graph_is_the_manifests"),
    _mistake("logger that the file does not know", LOSSLESS,
             {f"{GRAPH}.logger": {"mode": "all"}}, "its_graph_is_the_manifests"),
    _mistake("pod that no Service selects", LOSSLESS, {f"{LABELS}.seldon-app": DELETED},
             "the_service_selects_its_pod"),
    _mistake("pod of another Service", LOSSLESS, {f"{LABELS}.seldon-app": "sentiment-default"},
             "the_service_selects_its_pod"),
    _mistake("name of the running Deployment", LOSSLESS, {f"{METADATA}.name": "roberta"},
             "its_deployment_has_another_name"),
    _mistake("Deployment without a name of its own", LOSSLESS, {f"{METADATA}.name": DELETED},
             "its_deployment_has_another_name"),
    _mistake("routing where it is ignored", LOSSLESS_AB,
             {f"{CONTAINERS}.2.env": DELETED,
              f"{PREDICTOR}.svcOrchSpec": {"env": _variable(ROUTING, "true")}},
             "variables_reach_it", "routers_inject_routing"),
]

SHUTDOWN = [
    _mistake("Seldon's own grace", DIRECT, {f"{POD}.terminationGracePeriodSeconds": DELETED},
             "grace_covers_the_end"),
    _mistake("grace without a reserve", DIRECT, {f"{POD}.terminationGracePeriodSeconds": 42},
             "grace_covers_the_end"),
    _mistake("no preStop", DIRECT, {f"{CONTAINER}.lifecycle": DELETED}, "grace_covers_the_end"),
    _mistake("preStop that the operator would give", ONE,
             {f"{CONTAINER}.lifecycle.preStop.exec.command.2": "sleep 10"},
             "prestop_outlasts_the_executor"),
    _mistake("node that leaves before its router", BANDIT,
             {f"{CONTAINERS}.2.lifecycle": {"preStop": {"exec": {"command": ["sleep 5"]}}}},
             "prestop_outlasts_the_executor"),
    _mistake("timeout beyond the injected executor's end", ONE,
             {_annotation("rest-timeout"): "15001"}, "timeouts_are_granted"),
    _mistake("gRPC timeout beyond the node's end", DIRECT, {_annotation("grpc-timeout"): "60000"},
             "timeouts_are_granted"),
    _mistake("timeout of one predictor", SPLIT,
             {f"{PREDICTOR}.annotations": {"seldon.io/rest-timeout": "60000"}},
             "timeouts_are_granted"),
    _mistake("no timeout", AB, {_annotation("grpc-timeout"): DELETED}, "timeouts_are_granted"),
]

NODE = [
    _mistake("typo in a parameter", DIRECT, {f"{GRAPH}.parameters.1.name": "max_text"},
             "parameters_are_settings"),
    _mistake("word for a number", DIRECT, {f"{GRAPH}.parameters.1.value": "many"},
             "parameters_are_settings"),
    _mistake("typo in a variable", DIRECT,
             {f"{CONTAINER}.env": _variable("SENTIMENT_MAX_TEXT", "8")},
             "variables_are_settings"),
    _mistake("queue longer than the threads", DIRECT,
             {f"{GRAPH}.parameters.2": _int("max_queue", "96")}, "queue_is_shorter_than_threads"),
    _mistake("fewer threads than the queue", DIRECT,
             {f"{CONTAINER}.env": _variable("GRPC_THREADS", "8")},
             "queue_is_shorter_than_threads"),
    _mistake("two sizes of a message", DIRECT,
             {f"{GRAPH}.parameters.2": _int("max_body_bytes", "4096")}, "message_sizes_agree"),
    _mistake("mounted model that is not asked for", ONE, {f"{GRAPH}.parameters.0": DELETED},
             "a_mounted_model_is_asked_for"),
    _mistake("mounted model without a mount", ONE, {f"{GRAPH}.modelUri": DELETED},
             "a_mounted_model_is_asked_for"),
    _mistake("readiness asks for any worker", DIRECT,
             {f"{CONTAINER}.readinessProbe.httpGet.path": "/health/ping"},
             "probes_ask_for_the_truth"),
    _mistake("probe of the executor", AB,
             {f"{CONTAINER}.livenessProbe.httpGet.port": 8000}, "probes_ask_for_the_truth"),
    _mistake("probe of a number that is the neighbour's", AB,
             {f"{CONTAINERS}.1.readinessProbe": {
                 "httpGet": {"path": "/health/status", "port": 9000},
                 "periodSeconds": 5, "failureThreshold": 3}},
             "probes_ask_for_the_truth"),
    _mistake("no time to start", DIRECT, {f"{CONTAINER}.startupProbe.failureThreshold": 5},
             "a_restart_comes_last"),
    _mistake("more time to prepare than the probe allows", DIRECT,
             {f"{CONTAINER}.env": _variable("PREPARE_SECONDS", "60")}, "a_restart_comes_last"),
    _mistake("restart of the busy", DIRECT, {f"{CONTAINER}.livenessProbe.failureThreshold": 1},
             "a_restart_comes_last"),
    *(
        _mistake(f"{field} left to the cluster", DIRECT, {f"{POD}.{field}": DELETED},
                 "service_links_and_token_are_off")
        for field in ("enableServiceLinks", "automountServiceAccountToken")
    ),
    _mistake("token for a second predictor", SPLIT,
             {"spec.predictors.1.componentSpecs.0.spec.automountServiceAccountToken": True},
             "service_links_and_token_are_off"),
    _mistake("start that fails without a word", AB,
             {f"{CONTAINERS}.1.terminationMessagePolicy": "File"}, "a_failed_start_is_explained"),
    *(
        _mistake(f"no {lock}", DIRECT, {f"{CONTAINER}.securityContext.{lock}": DELETED},
                 "privileges_are_dropped")
        for lock in LOCKS
    ),
    _mistake("nowhere to write", DIRECT, {f"{CONTAINER}.volumeMounts": DELETED},
             "tmp_is_its_own"),
    _mistake("one /tmp for two", AB, {f"{CONTAINERS}.1.volumeMounts.0.name": "roberta-tmp"},
             "tmp_is_its_own"),
    _mistake("no room for a derived model", ONE,
             {f"{POD}.volumes.0.emptyDir.sizeLimit": "256Mi"}, "tmp_holds_derived_files"),
    _mistake("no memory limit", DIRECT, {f"{CONTAINER}.resources.limits.memory": DELETED},
             "resources_are_stated"),
    _mistake("memory that is not requested", DIRECT,
             {f"{CONTAINER}.resources.requests.memory": "64Mi"}, "resources_are_stated"),
]
# fmt: on

MISTAKES = [*WEBHOOK, *OPERATOR, *EXECUTOR, *OWN_EXECUTOR, *SHUTDOWN, *NODE]
