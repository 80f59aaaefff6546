"""Every manifest keeps the schema and the rules, and each deliberate mistake is caught by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import requests

from roberta_sentiment.settings import Settings
from scripts.serve import image_environment
from tests import ROOT
from tests.manifests import own_executor, schema, shutdown
from tests.manifests.document import (
    EXECUTOR,
    EXECUTOR_PORTS,
    Fields,
    assigned_ports,
    containers,
    deployments,
    environment,
    name_of,
    nodes,
    parameters,
    pod_labels,
    predictors,
    read,
)
from tests.manifests.executor import ROUTING
from tests.manifests.mistakes import CONTAINER, GRAPH, MISTAKES, PREDICTOR, Mistake, change
from tests.manifests.node import PROBES
from tests.manifests.rules import RULES, broken, refused, violations
from tests.service import Service

FILES = [ROOT / "deployment.yaml", *sorted((ROOT / "deploy").glob("*.yaml"))]
RECORDED = sorted((ROOT / "tests" / "fixtures" / "operator" / "manifests").glob("*.yaml"))
DEPLOYMENTS = [document for path in FILES for document in deployments(path)]
BY_FILE = {path.stem: deployments(path) for path in FILES}

needs_schema = pytest.mark.skipif(
    not schema.PATH.is_file(), reason="the schema of SeldonDeployment is not in ../shared/crd"
)
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)


@each_file
def test_every_manifest_keeps_the_rules(path: Path) -> None:
    """What the webhook would refuse, or the cluster take otherwise than meant, is found here."""
    for document in deployments(path):
        assert {} == broken(document)


@needs_schema
@each_file
def test_every_manifest_keeps_the_schema(path: Path) -> None:
    """A field that is not known is a typo; kubectl refuses it, a client without checks drops it."""
    for document in deployments(path):
        assert [] == schema.violations(document)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.title)
def test_each_mistake_is_caught_by_name(mistake: Mistake) -> None:
    """A rule that can't fail finds no mistake, and one that always fails is no help."""
    (document,) = BY_FILE[mistake.manifest]
    assert mistake.rules == broken(mistake.made_in(document)).keys()


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.name)
def test_the_manifests_before_these_rules_broke_them(path: Path) -> None:
    """The real webhook took them all; their pods crashed, were replaced, or lost requests."""
    (document,) = deployments(path)
    assert {} == refused(document)
    expected = {
        "service_links_and_token_are_off", "a_failed_start_is_explained", "ports_are_declared",
        "timeouts_are_granted",
    }  # fmt: skip
    assert expected <= broken(document).keys()


def test_every_rule_has_a_mistake() -> None:
    """A new rule comes with a manifest that breaks it."""
    assert RULES.keys() == frozenset().union(*(mistake.rules for mistake in MISTAKES))


@needs_schema
@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        pytest.param(f"{GRAPH}.parameters.1.value", 256, "256 is not of type 'string'", id="int"),
        pytest.param(f"{PREDICTOR}.traffic", "50", "'50' is not of type 'integer'", id="text"),
        pytest.param(f"{PREDICTOR}.graf", {}, "'graf' was unexpected", id="graf"),
        pytest.param(f"{GRAPH}.modelURI", "s3://a/b", "'modelURI' was unexpected", id="modelURI"),
        pytest.param(f"{CONTAINER}.readinessprobe", {}, "'readinessprobe' was", id="probe"),
        pytest.param(
            f"{CONTAINER}.livenessProbe", {"httpGet": {"path": "/"}}, "'port' is a required",
            id="no-port",
        ),
        pytest.param(f"{CONTAINER}.env", [{"name": "A", "value": 1}], "1 is not of type", id="env"),
    ],
)  # fmt: skip
def test_the_schema_is_strict(path: str, value: Any, words: str) -> None:
    """The published schema lets typos pass; ours must not."""
    (document,) = deployments(ROOT / "deployment.yaml")
    change(document, path, value)
    assert any(words in violation for violation in schema.violations(document))


def test_every_manifest_has_a_line_in_the_readme() -> None:
    """deploy/README.md says of each file when to use it."""
    page = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")
    assert [] == [path.name for path in FILES[1:] if f"({path.name})" not in page]


def test_deployments_do_not_overwrite_each_other() -> None:
    """Applying one variant must not replace another, but for the three steps of a canary."""
    owners: dict[str, set[str]] = {}
    for path in FILES:
        for document in deployments(path):
            owners.setdefault(name_of(document), set()).add(path.stem.rpartition("-")[0] or "one")
    assert {} == {name: files for name, files in owners.items() if len(files) > 1}


def _selected(selector: Fields) -> list[tuple[Fields, Fields]]:
    wanted = selector["matchLabels"].items()
    return [
        (document, predictor)
        for document in DEPLOYMENTS
        for predictor in predictors(document)
        if wanted <= pod_labels(document, predictor).items()
    ]


def test_a_budget_spans_one_predictor() -> None:
    """Budgets that overlap refuse every eviction, and one that selects no pod has no effect."""
    budgets = read(ROOT / "deploy" / "disruption-budget.yaml")
    assert {"policy/v1"} == {budget["apiVersion"] for budget in budgets}
    for budget in budgets:
        assert 1 == len(_selected(budget["spec"]["selector"])), budget["metadata"]["name"]


def test_the_network_policy_opens_the_ports_that_are_there() -> None:
    """A port too few and Prometheus or the gateway is cut off."""
    (policy,) = read(ROOT / "deploy" / "network-policy.yaml")
    ((document, _),) = _selected(policy["spec"]["podSelector"])
    ((assigned,),) = assigned_ports(document)[0]
    opened = [{p["port"] for p in rule["ports"]} for rule in policy["spec"]["ingress"]]
    assert [set(EXECUTOR_PORTS.values()), {EXECUTOR_PORTS["http"], assigned.metrics}] == opened


@each_file
def test_probes_are_answered_by_the_running_node(path: Path, service: Service) -> None:
    """A probe that asks for what is not there restarts a healthy pod forever."""
    for document in deployments(path):
        for predictor in predictors(document):
            for container in containers(predictor):
                if container["name"] == EXECUTOR:
                    continue
                for probe in PROBES:
                    asked = container[probe]["httpGet"]["path"]
                    seconds = container[probe]["timeoutSeconds"]
                    assert 200 == requests.get(service.url(asked), timeout=seconds).status_code


def test_parameters_are_real_settings() -> None:
    """Each parameter in each file is a field of the object that the server reads them into."""
    fields = set(Settings.__dataclass_fields__)
    named = {
        parameter["name"]
        for document in DEPLOYMENTS
        for predictor in predictors(document)
        for node in nodes(predictor)
        if node.get("type") == "MODEL"
        for parameter in parameters(node)
    }
    assert named
    assert named <= fields


def test_variables_of_containers_are_read_by_somebody() -> None:
    """A variable that no program reads has no effect, and no warning."""
    jaeger = {"TRACING", "JAEGER_AGENT_HOST", "JAEGER_AGENT_PORT"}
    known = image_environment().keys() | jaeger
    for document in DEPLOYMENTS:
        for predictor in predictors(document):
            for container in containers(predictor):
                read = {ROUTING} if container["name"] == EXECUTOR else known
                assert environment(container).keys() <= read, name_of(document)


def test_the_executors_image_drains() -> None:
    """What a cluster injects then: as long a delay as every preStop here is made for."""
    source, entrypoint = (
        (ROOT / "deploy" / "executor" / "Dockerfile").read_text(encoding="utf-8").splitlines()[-2:]
    )
    words = json.loads(entrypoint.removeprefix("ENTRYPOINT "))
    options = shutdown.arguments({"args": words[1:]})
    longest = max(
        int(document["spec"]["annotations"][key]) / 1000
        for document in DEPLOYMENTS
        for key in shutdown.TIMEOUTS
    )
    assert "/executor" == words[0]
    assert shutdown.IMAGE_DELAY_S == shutdown.duration_s(options["shutdown_delay"])
    assert longest <= (shutdown.duration_s(options["graceful_timeout"]) or 0)
    own = {
        container["image"]
        for document in DEPLOYMENTS
        for predictor in predictors(document)
        for container in containers(predictor)
        if container["name"] == EXECUTOR
    }
    assert own == {source.removeprefix("FROM ")}


def test_the_tried_executor_keeps_its_rules() -> None:
    """What was tried end to end with the real operator and executor breaks none of its rules."""
    (tried,) = deployments(ROOT / "tests" / "fixtures" / "operator" / "own-executor.yaml")
    rules = {rule.__name__: rule for rule in own_executor.RULES}
    # It was applied to a new cluster, so its Deployment could take the old name.
    assert {"its_deployment_has_another_name"} == violations(rules, tried).keys()


def test_the_docs_say_what_a_stopping_pod_grants() -> None:
    """docs/deploy.md has the times of these manifests."""
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    granted = [
        f"{shutdown.granted_s(predictor):.0f} s"
        for stem in ("deployment", "lossless-rollout", "without-executor")
        for document in BY_FILE[stem]
        for predictor in predictors(document)
    ]
    assert f"| granted to a request | {' | '.join(granted)} |" in page
