"""The manifests of the Open Inference Protocol."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from roberta_sentiment.settings import Settings, misspelt
from roberta_sentiment.version import __version__
from tests import ROOT
from tests.manifests.document import read
from tests.manifests.schema import strict

SCHEMAS = ROOT.parent / "shared" / "crd"
FILES = {
    "SeldonDeployment": "seldondeployment-v1",
    "Server": "server-v1alpha1",
    "Model": "model-v1alpha1",
    "Experiment": "experiment-v1alpha1",
    "ServingRuntime": "servingruntime-v1alpha1",
    "InferenceService": "inferenceservice-v1beta1",
}
DOCUMENTS = {
    f"{path.stem}-{document['kind']}-{document['metadata']['name']}": document
    for path in sorted((ROOT / "deploy" / "oip").glob("*.yaml"))
    for document in read(path)
}


def containers() -> Iterator[dict[str, Any]]:
    """Every container of ours in them."""
    for document in DOCUMENTS.values():
        spec = document["spec"]
        pods = [spec, spec.get("podSpec", {})]
        pods += [p["spec"] for each in spec.get("predictors", []) for p in each["componentSpecs"]]
        for pod in pods:
            yield from pod.get("containers", [])


CONTAINERS = {container["name"]: container for container in containers()}


@pytest.mark.skipif(not SCHEMAS.is_dir(), reason="the schemas in ../shared/crd are missing")
@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_the_schema(document: dict[str, Any]) -> None:
    """Each document is one that the cluster takes, without a field that it does not know."""
    path = SCHEMAS / f"{FILES[document['kind']]}.schema.json"
    schema = strict(json.loads(path.read_text(encoding="utf-8")))
    assert [] == [error.message for error in Draft202012Validator(schema).iter_errors(document)]
    document = {**document, "spec": {**document["spec"], "misspelt": 1}}
    assert not Draft202012Validator(schema).is_valid(document)


def test_every_platform_is_there() -> None:
    """Seldon Core 1 and 2 and KServe, each with what splits traffic there."""
    assert set(FILES) == {document["kind"] for document in DOCUMENTS.values()}
    assert {"sentiment", "mlserver", "kserve-container", "whole", "short"} == CONTAINERS.keys()


@pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS)
def test_containers(container: dict[str, Any]) -> None:
    """The image of this version, and variables that MLServer or this project reads."""
    assert f"roberta-sentiment-oip:{__version__}" == container["image"]
    names = {variable["name"]: variable["value"] for variable in container["env"]}
    assert {} == misspelt(names)
    Settings.read({}, names)
    assert all(name.startswith(("MLSERVER_", "SENTIMENT_", "PREPARE_SECONDS")) for name in names)


@pytest.mark.parametrize("name", ["sentiment", "kserve-container", "whole", "short"])
def test_pods_that_are_wholly_ours(name: str) -> None:
    """No root, nothing written outside /tmp, and time for the endpoints before it stops."""
    container = CONTAINERS[name]
    security = container["securityContext"]
    assert (8888, True) == (security["runAsUser"], security["readOnlyRootFilesystem"])
    assert ["/tmp"] == [mount["mountPath"] for mount in container["volumeMounts"]]  # noqa: S108
    assert "sleep 15" in container["lifecycle"]["preStop"]["exec"]["command"]
    assert container["readinessProbe"]["httpGet"]["path"].endswith("/ready")


def test_the_shipped_repository() -> None:
    """What Seldon Core 2's models need beside them is what `make serve-oip` starts."""
    folder = ROOT / "oip_node" / "sentiment"
    settings = json.loads(Path(folder / "model-settings.json").read_text(encoding="utf-8"))
    assert ("sentiment", "oip_node.runtime.SentimentRuntime") == (
        settings["name"], settings["implementation"]
    )  # fmt: skip
