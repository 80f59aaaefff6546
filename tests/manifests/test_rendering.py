"""The imitated operator renders what the real one rendered, and no pod is replaced without need."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT
from tests.manifests import rendering
from tests.manifests.document import Fields, deployments, predictors

RECORDED = ROOT / "tests" / "fixtures" / "operator"
GIVEN = sorted((RECORDED / "manifests").glob("*.yaml"))
OURS = [ROOT / "deployment.yaml", *sorted((ROOT / "deploy").glob("*.yaml"))]
SEVERAL = [
    path
    for path in OURS
    for document in deployments(path)
    if len(predictors(document)) > 1
]  # fmt: skip


def recorded(path: Path) -> dict[str, Any]:
    """The real operator's rendering of a manifest, ENGINE_PREDICTOR decoded."""
    made: dict[str, Any] = json.loads((RECORDED / f"{path.stem}.json").read_text(encoding="utf-8"))
    for deployment in made["deployments"]:
        predictor = made["enginePredictors"].get(deployment["metadata"]["name"])
        for container in deployment["spec"]["template"]["spec"]["containers"]:
            for variable in container["env"]:
                if variable["name"] == rendering.PREDICTOR_VARIABLE:
                    variable["value"] = predictor
    return made


def templates(document: Fields) -> dict[str, Any]:
    """Pod template and selector by name of the Deployment."""
    return {
        deployment["metadata"]["name"]: (
            deployment["spec"]["template"], deployment["spec"]["selector"],
        )
        for deployment in rendering.deployments(document)
    }  # fmt: skip


@pytest.mark.parametrize("path", GIVEN, ids=lambda path: path.name)
def test_every_field_is_the_real_operators(path: Path) -> None:
    """Deployments in full; of Services what is claimed: name, ports and selector."""
    (given,) = deployments(path)
    real = recorded(path)
    assert real["deployments"] == rendering.deployments(given)
    assert [
        {
            "metadata": {"name": service["metadata"]["name"]},
            "spec": {key: service["spec"][key] for key in ("ports", "selector")},
        }
        for service in real["services"]
    ] == rendering.services(given)


def test_all_recordings_are_compared() -> None:
    """A rendering without its manifest would be compared with nothing."""
    rendered = {path.stem for path in RECORDED.glob("*.json")} - {"service-links"}
    assert rendered == {path.stem for path in GIVEN}


def test_the_recorded_canary_restarts_pods_that_are_kept() -> None:
    """The trap: with undeclared ports the third step replaced every pod of v2."""
    second, third = (recorded(Path(f"canary-{step}")) for step in (2, 3))
    (kept,) = third["deployments"]
    (before,) = [d for d in second["deployments"] if d["metadata"] == kept["metadata"]]
    assert before["spec"]["template"] != kept["spec"]["template"]


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 3), (2, 1)])
def test_a_canary_step_replaces_no_pod_that_stays(before: int, after: int) -> None:
    """Weights, replicas and the end of v1 leave the pods of the others alone."""
    steps = [
        templates(document)
        for step in (before, after)
        for document in deployments(ROOT / "deploy" / f"canary-{step}.yaml")
    ]
    kept = steps[0].keys() & steps[1].keys()
    assert kept
    for name in kept:
        assert steps[0][name] == steps[1][name]


@pytest.mark.parametrize("path", SEVERAL, ids=lambda path: path.name)
def test_predictors_leave_each_others_pods_alone(path: Path) -> None:
    """One more, one less, or another order: no pod that stays is replaced."""
    (document,) = deployments(path)
    whole = templates(document)
    for count in range(1, len(predictors(document)) + 1):
        for chosen in itertools.permutations(predictors(document), count):
            part = templates({**document, "spec": {**document["spec"], "predictors": [*chosen]}})
            assert {name: whole[name] for name in part} == part


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_every_service_finds_a_pod_that_listens(path: Path) -> None:
    """A Service that selects nothing, or a port that is not open, answers no request."""
    for document in deployments(path):
        made = rendering.deployments(document)
        for deployment in made:
            labels = deployment["spec"]["template"]["metadata"]["labels"]
            assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
        for service in rendering.services(document):
            (pod,) = (
                deployment["spec"]["template"]
                for deployment in made
                if service["spec"]["selector"].items()
                <= deployment["spec"]["template"]["metadata"]["labels"].items()
            )
            opened = {
                port["containerPort"]
                for container in pod["spec"]["containers"]
                for port in container["ports"]
            }
            assert {port["targetPort"] for port in service["spec"]["ports"]} <= opened


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_every_pod_has_one_executor_or_none(path: Path) -> None:
    """One of the manifest's own keeps the operator's away."""
    for document in deployments(path):
        for deployment in rendering.deployments(document):
            found = [c["name"] for c in deployment["spec"]["template"]["spec"]["containers"]]
            wanted = 0 if path.stem == "without-executor" else 1
            assert wanted == found.count("seldon-container-engine")
