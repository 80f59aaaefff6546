"""Seldon's rules say what the real webhook of release 1.19 said: refused, or let pass."""

from __future__ import annotations

from typing import Any

import pytest

from tests import ROOT
from tests.manifests.document import deployments
from tests.manifests.mistakes import CONTAINER, DELETED, GRAPH, PREDICTOR, Mistake
from tests.manifests.rules import OURS, SELDONS, broken, refused

ONE, TWO, AB, SHADOW = "without-executor", "two-predictors", "ab-test", "shadow"
IMPLEMENTATION, TYPE = f"{GRAPH}.implementation", f"{GRAPH}.type"
KAFKA = ("KAFKA_BROKER", "KAFKA_INPUT_TOPIC", "KAFKA_OUTPUT_TOPIC")


def variables(*names: str) -> list[dict[str, str]]:
    return [{"name": name, "value": "x"} for name in names]


def verdict(manifest: str, changes: dict[str, Any]) -> set[str]:
    """The rules of the webhook that refuse a manifest of deploy/ with some changes."""
    (document,) = deployments(ROOT / "deploy" / f"{manifest}.yaml")
    return set(refused(Mistake("", manifest, changes, frozenset()).made_in(document)))


def service_names(first: str, second: str) -> dict[str, Any]:
    return {
        f"spec.predictors.{index}.annotations": {"seldon.io/svc-name": name}
        for index, name in enumerate((first, second))
    }


def weights(first: int, second: int) -> dict[str, Any]:
    return {"spec.predictors.0.traffic": first, "spec.predictors.1.traffic": second}


@pytest.mark.parametrize(
    ("manifest", "changes"),
    [
        pytest.param(ONE, {PREDICTOR + ".traffic": 0}, id="alone with 0"),
        pytest.param(ONE, {PREDICTOR + ".traffic": 150}, id="alone with 150"),
        pytest.param(ONE, {PREDICTOR + ".traffic": -10}, id="alone with -10"),
        pytest.param(SHADOW, {PREDICTOR + ".traffic": 50}, id="50 beside a shadow"),
        pytest.param(TWO, weights(150, -50), id="150 and -50"),
        pytest.param(ONE, {IMPLEMENTATION: ""}, id="empty implementation"),
        pytest.param(
            ONE, {IMPLEMENTATION: "", f"{CONTAINER}.name": "other", TYPE: "UNKNOWN_TYPE"},
            id="empty implementation skips everything",
        ),
        pytest.param(
            ONE, {IMPLEMENTATION: "SKLEARN_SERVR", f"{GRAPH}.modelUri": "s3://a/b"},
            id="typo with a model and an image",
        ),
        pytest.param(
            ONE, {IMPLEMENTATION: "HUGGINGFACE_SERVER"}, id="HUGGINGFACE_SERVER without a model"
        ),
        pytest.param(
            ONE, {IMPLEMENTATION: "SKLEARN_SERVER", f"{GRAPH}.modelUri": "s3://a/b",
                  f"{PREDICTOR}.componentSpecs": []},
            id="server of the configuration without a container",
        ),
        pytest.param(ONE, {TYPE: "MODL"}, id="typo in a type"),
        pytest.param(
            ONE, {TYPE: "UNKNOWN_TYPE", f"{GRAPH}.methods": ["TRANSFORM_INPUT"]},
            id="UNKNOWN_TYPE with methods",
        ),
        pytest.param(
            ONE, {TYPE: "UNKNOWN_TYPE", IMPLEMENTATION: "HUGGINGFACE_SERVER"},
            id="UNKNOWN_TYPE with an implementation",
        ),
        pytest.param(ONE, {f"{GRAPH}.logger": {"mode": "al"}}, id="typo in a logger's mode"),
        pytest.param(ONE, {"metadata.name": "s" * 60}, id="60 characters of a name"),
        pytest.param(ONE, {"spec.transport": "rest", f"{GRAPH}.endpoint": {"type": "REST"}},
                     id="endpoint as transport"),
        pytest.param(ONE, {f"{GRAPH}.endpoint": {"type": "GRPC"}}, id="endpoint alone"),
        pytest.param(ONE, {PREDICTOR + ".annotations": {"seldon.io/no-engine": "false"}},
                     id="no-engine false with one node"),
        pytest.param(ONE, {"spec.protocol": "v2"}, id="protocol v2"),
        pytest.param(ONE, {"spec.protocol": "tensorflow"}, id="tensorflow and a custom node"),
        pytest.param(
            ONE, {"spec.protocol": "tensorflow", IMPLEMENTATION: "TENSORFLOW_SERVER",
                  f"{GRAPH}.modelUri": "gs://a/b"},
            id="tensorflow and its server",
        ),
        pytest.param(
            ONE, {"spec.serverType": "kafka",
                  f"{PREDICTOR}.svcOrchSpec": {"env": variables(*KAFKA)}},
            id="kafka with its variables",
        ),
        pytest.param(
            ONE, {"spec.serverType": "kafka",
                  f"{PREDICTOR}.svcOrchSpec": {"env": variables(*["KAFKA_BROKER"] * 3)}},
            id="kafka with one variable three times",
        ),
        pytest.param(TWO, service_names("a", "b"), id="two service names"),
        pytest.param(AB, {f"{GRAPH}.children.1.name": "roberta"}, id="two nodes of one name"),
        pytest.param(AB, {f"{GRAPH}.parameters.0.value": "70"}, id="ratioA of 70"),
        pytest.param(AB, {f"{GRAPH}.children.1": DELETED}, id="A/B test of one"),
    ],
)  # fmt: skip
def test_the_webhook_lets_pass(manifest: str, changes: dict[str, Any]) -> None:
    """A rule of Seldon's that is stricter than Seldon would refuse what a cluster takes."""
    assert set() == verdict(manifest, changes)


@pytest.mark.parametrize(
    ("manifest", "changes", "rule"),
    [
        pytest.param(ONE, {PREDICTOR + ".traffic": 1}, "traffic_sums_to_100", id="alone with 1"),
        pytest.param(ONE, {PREDICTOR + ".traffic": 99}, "traffic_sums_to_100", id="alone with 99"),
        pytest.param(TWO, weights(0, 0), "traffic_sums_to_100", id="two with 0"),
        pytest.param(TWO, weights(100, 1), "traffic_sums_to_100", id="two with 101"),
        pytest.param(SHADOW, {"spec.predictors.1.traffic": -1}, "a_shadow_has_a_live_predictor",
                     id="shadow of -1"),
        pytest.param(SHADOW, {"spec.predictors.0.shadow": True}, "a_shadow_has_a_live_predictor",
                     id="two shadows"),
        pytest.param(AB, {PREDICTOR + ".annotations": {"seldon.io/no-engine": "false"}},
                     "without_executor_one_node", id="no-engine false with three nodes"),
        pytest.param(AB, {PREDICTOR + ".annotations": {"seldon.io/no-engine": ""}},
                     "without_executor_one_node", id="empty no-engine with three nodes"),
        pytest.param(ONE, {"spec.transport": "grpc", f"{GRAPH}.endpoint": {"type": "REST"}},
                     "endpoints_are_of_one_type", id="REST endpoint, transport grpc"),
        pytest.param(ONE, {"spec.transport": "rest", f"{GRAPH}.endpoint": {"type": "GRPC"}},
                     "endpoints_are_of_one_type", id="gRPC endpoint, transport rest"),
        pytest.param(TWO, {"spec.predictors.0.graph.endpoint": {"type": "REST"},
                           "spec.predictors.1.graph.endpoint": {"type": "GRPC"}},
                     "endpoints_are_of_one_type", id="endpoints of two predictors"),
        pytest.param(TWO, service_names("", ""), "service_names_differ", id="two empty names"),
        pytest.param(ONE, {IMPLEMENTATION: "UNKNOWN_IMPLEMENTATION", f"{CONTAINER}.name": "other"},
                     "every_node_has_a_container", id="no container"),
        pytest.param(ONE, {IMPLEMENTATION: "UNKNOWN_IMPLEMENTATION", TYPE: "UNKNOWN_TYPE"},
                     "types_are_known", id="UNKNOWN_TYPE without methods"),
        pytest.param(ONE, {IMPLEMENTATION: "SKLEARN_SERVR"}, "implementations_are_known",
                     id="typo without a model"),
        pytest.param(ONE, {IMPLEMENTATION: "SKLEARN_SERVR", f"{GRAPH}.modelUri": "s3://a/b",
                           f"{CONTAINER}.image": DELETED},
                     "implementations_are_known", id="typo without an image"),
        pytest.param(ONE, {IMPLEMENTATION: "TRITON_SERVER"}, "implementations_are_known",
                     id="TRITON_SERVER without a model"),
        pytest.param(ONE, {"spec.protocol": "tensorflow", IMPLEMENTATION: "MLFLOW_SERVER",
                           f"{GRAPH}.modelUri": "gs://a/b"},
                     "servers_speak_the_protocol", id="tensorflow and another server"),
        pytest.param(ONE, {f"{GRAPH}.logger": {"mode": ""}}, "loggers_have_a_mode",
                     id="empty mode"),
        pytest.param(ONE, {"spec.protocol": "http"}, "words_of_spec_are_known", id="protocol"),
        pytest.param(ONE, {"spec.serverType": "rabbitmq"}, "words_of_spec_are_known",
                     id="server type"),
        pytest.param(ONE, {"spec.serverType": "kafka"}, "kafka_has_its_variables",
                     id="kafka without variables"),
        pytest.param(ONE, {"spec.serverType": "kafka",
                           f"{PREDICTOR}.svcOrchSpec": {"env": variables(*KAFKA[:2])}},
                     "kafka_has_its_variables", id="kafka with two variables"),
    ],
)  # fmt: skip
def test_the_webhook_refuses(manifest: str, changes: dict[str, Any], rule: str) -> None:
    """A rule of Seldon's that is looser than Seldon would let a manifest through to a refusal."""
    assert {rule} == verdict(manifest, changes)


@pytest.mark.parametrize(
    ("manifest", "changes"),
    [
        pytest.param(ONE, {PREDICTOR + ".traffic": 150}, id="alone with 150"),
        pytest.param(SHADOW, {PREDICTOR + ".traffic": 50}, id="50 beside a shadow"),
        pytest.param(ONE, {IMPLEMENTATION: ""}, id="empty implementation"),
        pytest.param(
            ONE, {IMPLEMENTATION: "SKLEARN_SERVR", f"{GRAPH}.modelUri": "s3://a/b"},
            id="typo with a model and an image",
        ),
        pytest.param(ONE, {TYPE: "MODL"}, id="typo in a type"),
        pytest.param(ONE, {f"{GRAPH}.logger": {"mode": "al"}}, id="typo in a logger's mode"),
        pytest.param(ONE, {"metadata.name": "s" * 60}, id="60 characters of a name"),
        pytest.param(ONE, {PREDICTOR + ".annotations": {"seldon.io/no-engine": "false"}},
                     id="no-engine false with one node"),
        pytest.param(AB, {f"{GRAPH}.parameters.0.value": "70"}, id="ratioA of 70"),
    ],
)  # fmt: skip
def test_our_rules_find_what_the_webhook_lets_pass(manifest: str, changes: dict[str, Any]) -> None:
    """Accepted is not the same as meant."""
    (document,) = deployments(ROOT / "deploy" / f"{manifest}.yaml")
    violations = broken(Mistake("", manifest, changes, frozenset()).made_in(document))
    assert violations.keys()
    assert violations.keys() <= OURS.keys()


def test_each_rule_is_seldons_or_ours() -> None:
    """A reader must know whether a cluster would refuse, or we would."""
    assert set() == SELDONS.keys() & OURS.keys()
