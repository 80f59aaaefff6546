"""The manifests of deploy/ are what kustomize makes of its base and overlays."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import manifests
from tests import ROOT
from tests.manifests.document import containers, deployments, predictors

needs_kubectl = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="kubectl, which contains kustomize, is not installed"
)
each_overlay = pytest.mark.parametrize("overlay", manifests.OVERLAYS, ids=lambda path: path.name)


def documents(text: str) -> list[Any]:
    return list(yaml.safe_load_all(text))


@needs_kubectl
@each_overlay
def test_a_manifest_is_its_overlay(overlay: Path) -> None:
    """An edit of the rendered file alone would be lost at the next `make manifests`."""
    rendered = (ROOT / "deploy" / f"{overlay.name}.yaml").read_text(encoding="utf-8")
    assert rendered.startswith(manifests.header(overlay))
    assert documents(manifests.kustomize(overlay)) == documents(rendered)


def test_deployment_yaml_is_the_base() -> None:
    """Users apply the one, overlays are built on the other."""
    base = (ROOT / "deploy" / "base" / "deployment.yaml").read_text(encoding="utf-8")
    assert base == (ROOT / "deployment.yaml").read_text(encoding="utf-8")


def test_every_variant_has_an_overlay() -> None:
    """A SeldonDeployment written by hand would miss every change of the base."""
    written = {path.stem for path in (ROOT / "deploy").glob("*.yaml") if deployments(path)}
    assert {path.name for path in manifests.OVERLAYS} == written


@each_overlay
def test_an_overlay_explains_itself(overlay: Path) -> None:
    """The comment is all that a reader of the rendered file gets."""
    assert manifests.header(overlay).count("\n") > 1


@needs_kubectl
def test_the_example_of_an_own_overlay(tmp_path: Path) -> None:
    """deploy/README.md's overlay renders, with its image in the node's container only."""
    page = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    own = tmp_path / "my-sentiment"
    own.mkdir()
    (own / "kustomization.yaml").write_text(example, encoding="utf-8")
    (document,) = documents(manifests.kustomize(own))
    (predictor,) = predictors(document)
    assert "reviews" == document["metadata"]["namespace"]
    assert 4 == predictor["replicas"]
    assert [
        "registry.example/roberta-sentiment:0.1.0-7", "roberta-sentiment-lexicon:0.1.0",
    ] == [container["image"] for container in containers(predictor)]  # fmt: skip


def test_without_kubectl_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first thing that can be missing is named."""
    monkeypatch.setenv("PATH", "")
    assert 1 == manifests.main()
    assert capsys.readouterr().err.startswith("kubectl is missing")


def test_the_node_on_a_gpu_asks_for_one_and_for_nothing_less() -> None:
    """Without the parameter it would compute on the CPU beside a GPU that is paid for."""
    (document,) = documents((ROOT / "deploy" / "gpu.yaml").read_text(encoding="utf-8"))
    (predictor,) = predictors(document)
    (container,) = containers(predictor)
    parameters = {each["name"]: each["value"] for each in predictor["graph"]["parameters"]}
    assert ("cuda", "fp16") == (parameters["device"], parameters["precision"])
    assert ["1", "1"] == [each["nvidia.com/gpu"] for each in container["resources"].values()]
    assert "roberta-sentiment-gpu" == container["image"].partition(":")[0]
