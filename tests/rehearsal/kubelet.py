"""What the kubelet puts into every container of a pod, beside what the manifest asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests import ROOT

RECORDED = ROOT / "tests" / "fixtures" / "operator" / "service-links.json"
API_SERVER: Mapping[str, Any] = {
    "metadata": {"name": "kubernetes"},
    "spec": {"ports": [{"name": "https", "protocol": "TCP", "port": 443}]},
}
"""The Service that every pod learns of, links or no links."""


def recorded() -> dict[str, dict[str, str]]:
    """Variables by the kubelet's own code: of the API server's Service, and of two manifests."""
    found: dict[str, dict[str, str]] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return found


def environment(services: Sequence[Mapping[str, Any]], pod: str) -> dict[str, str]:
    """Variables of every container of a pod that the manifest does not name.

    Args:
        services: of the pod's namespace.
        pod: its name.
    """
    return {"HOSTNAME": f"{pod}-6678cdbf69-kqn96", **service_links([API_SERVER, *services])}


def podinfo(annotations: Mapping[str, str]) -> str:
    """The downward API's file of the pod's annotations; its last line has no end."""
    every = {
        "kubernetes.io/config.seen": "2026-11-26T20:57:35.752922738Z",
        "kubernetes.io/config.source": "api",
        **annotations,
    }
    return "\n".join(f'{key}="{value}"' for key, value in sorted(every.items()))


def service_links(services: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The variables that describe Services; their addresses are made up.

    Follows FromServices of Kubernetes (pkg/kubelet/envvars). A Service without an address of its
    own has no variables.
    """
    found: dict[str, str] = {}
    for number, service in enumerate(services, start=1):
        spec = service["spec"]
        if spec.get("clusterIP") != "None":
            found |= _links_of(service["metadata"]["name"], spec["ports"], f"10.0.0.{number}")
    return found


def _links_of(name: str, ports: Sequence[Mapping[str, Any]], address: str) -> dict[str, str]:
    prefix = _variable(name)
    found = {f"{prefix}_SERVICE_HOST": address, f"{prefix}_SERVICE_PORT": str(ports[0]["port"])}
    for port in ports:
        if port.get("name"):
            found[f"{prefix}_SERVICE_PORT_{_variable(port['name'])}"] = str(port["port"])
    for port in reversed(ports):
        protocol = port.get("protocol", "TCP").lower()
        url = f"{protocol}://{address}:{port['port']}"
        link = f"{prefix}_PORT_{port['port']}_{protocol.upper()}"
        found |= {
            f"{prefix}_PORT": url, link: url, f"{link}_PROTO": protocol,
            f"{link}_PORT": str(port["port"]), f"{link}_ADDR": address,
        }  # fmt: skip
    return found


def _variable(name: str) -> str:
    return name.upper().replace("-", "_")
