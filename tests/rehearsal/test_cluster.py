"""What the rehearsal makes of a manifest is what the operator and the kubelet make of it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests import ROOT
from tests.manifests.document import Fields
from tests.manifests.rendering import services
from tests.rehearsal import kubelet
from tests.rehearsal.cluster import (
    NAMES,
    Container,
    containers,
    manifest,
    rendered,
    rendered_pods,
)

PODINFO = ROOT / "tests" / "fixtures" / "kubelet" / "podinfo-annotations"
LINKED = {"deployment": "deployment.yaml", "ab-test": "ab-test.yaml"}
"""The manifests whose service links were recorded, and their names there."""


def addresses_out(variables: dict[str, str]) -> dict[str, str]:
    """The cluster's addresses are made up, in the recording and here."""
    return {k: re.sub(r"\b\d+\.\d+\.\d+\.\d+", "ADDRESS", v) for k, v in variables.items()}


def seen_by(container: Container) -> dict[str, Any]:
    """What the server in it finds."""
    return {
        "name": container.name,
        "environment": container.environment,
        "ports": container.ports,
        "annotations": container.annotations,
        "grace": container.pod["terminationGracePeriodSeconds"],
        "probes": {key: value for key, value in container.spec.items() if key.endswith("Probe")},
    }


def exposed(service: Fields) -> tuple[str, dict[str, int]]:
    ports = service["spec"]["ports"]
    return service["metadata"]["name"], {port["name"]: port["port"] for port in ports}


@pytest.mark.parametrize("name", NAMES)
def test_a_container_is_what_the_operator_makes_of_it(name: str) -> None:
    """Variables, ports, annotations, probes."""
    real = [each for pod in rendered_pods(name) for each in pod.containers]
    assert real
    for expected, ours in zip(real, containers(manifest(name)), strict=True):
        assert seen_by(expected) == seen_by(ours)


@pytest.mark.parametrize("name", NAMES)
def test_the_services_are_what_the_operator_makes(name: str) -> None:
    """Their names become variables."""
    assert [*map(exposed, rendered(name)["services"])] == [*map(exposed, services(manifest(name)))]


@pytest.mark.parametrize("name", LINKED)
def test_service_links_are_the_kubelet_s(name: str) -> None:
    """By its own code."""
    recorded = kubelet.recorded()
    links = kubelet.service_links(services(manifest(name)))
    assert addresses_out(recorded[LINKED[name]]) == addresses_out(links)
    ours = kubelet.service_links([kubelet.API_SERVER])
    assert addresses_out(recorded["kubernetes"]) == addresses_out(ours)


def test_a_service_without_an_address_has_no_link() -> None:
    """A headless one."""
    service = {"metadata": {"name": "x"}, "spec": {"clusterIP": "None", "ports": [{"port": 1}]}}
    assert {} == kubelet.service_links([service])


def test_a_long_name_is_hashed() -> None:
    """The operator's own rule for what is no name of a Service."""
    document = manifest("deployment")
    document["metadata"]["name"] = "s" * 60
    names = [service["metadata"]["name"] for service in services(document)]
    assert all(re.fullmatch("seldon-[0-9a-f]{32}", name) for name in names)


def test_podinfo_is_the_kubelet_s() -> None:
    """With two annotations more than the operator's, and without an end of the last line."""
    real = PODINFO.read_text(encoding="utf-8")
    ours = containers(manifest("deployment"))[0].annotations
    seen = re.compile('(?<=config.seen=").*(?=")')
    assert seen.sub("", real) == seen.sub("", ours)
