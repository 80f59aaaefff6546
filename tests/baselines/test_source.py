"""The source trees from which s2i builds the baselines' images."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from baselines.source import Baseline, build_source
from scripts.sbom import read_requirements
from scripts.serve import image_environment
from tests import ROOT
from tests.service import Service


def environment_of(tree: Path) -> dict[str, str]:
    lines = (tree / ".s2i" / "environment").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines)


@pytest.mark.parametrize("name", list(Baseline))
def test_a_tree_serves_alone(name: str, tmp_path: Path) -> None:
    """A module that the tree lacks would end the container at its first start."""
    tree = build_source(name, tmp_path / "source")
    environment = environment_of(tree)
    service = Service(environment["MODEL_NAME"], GRPC_WORKERS="0", PYTHONPATH=str(tree))
    with service.start():
        answer = service.post({"data": {"ndarray": ["This film is so good"]}}).json()
    assert ["negative", "positive"] == answer["data"]["names"]


@pytest.mark.parametrize("name", list(Baseline))
def test_a_tree_needs_no_runtime_for_roberta(name: str, tmp_path: Path) -> None:
    """The image installs neither ONNX Runtime nor a tokenizer, so nothing may import them."""
    tree = build_source(name, tmp_path / "source")
    module = environment_of(tree)["MODEL_NAME"].rpartition(".")[0]
    code = f"import sys, {module}; print(*sorted(m.partition('.')[0] for m in sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tree, capture_output=True, text=True, check=True
    )
    assert not {"onnxruntime", "onnx", "tokenizers", "transformers"} & set(run.stdout.split())


@pytest.mark.parametrize("name", list(Baseline))
def test_a_tree_has_what_the_builder_needs(name: str, tmp_path: Path) -> None:
    """s2i's assemble stops without these, and trips over some names."""
    tree = build_source(name, tmp_path / "source")
    environment = environment_of(tree)
    ours = {k: v for k, v in image_environment().items() if k in environment and k != "MODEL_NAME"}
    assert ours == {k: v for k, v in environment.items() if k != "MODEL_NAME"}
    assert ("MODEL", "0") == (environment["SERVICE_TYPE"], environment["PERSISTENCE"])
    assert not {"python", "licenses", "version.txt", "license.txt"} & {
        p.name for p in tree.iterdir()
    }
    others = {str(other) for other in Baseline} - {name}
    assert not others & {path.name for path in (tree / "baselines").iterdir()}


@pytest.mark.parametrize("name", list(Baseline))
def test_packages_are_pinned_as_the_server_s(name: str) -> None:
    """Two models in one test must differ in the model, not in the wrapper below it."""
    server = {pin.name: pin.version for pin in read_requirements(ROOT / "requirements.txt")}
    pins = read_requirements(ROOT / "baselines" / name / "requirements.txt")
    own = {pin.name: pin.version for pin in pins if server.get(pin.name) != pin.version}
    assert ({"vadersentiment": "3.3.2"} if name == "lexicon" else {}) == own


def test_the_image_of_the_manifest_is_the_one_that_is_built() -> None:
    """deploy/ab-test.yaml and the commands of the README name the same image."""
    readme = (ROOT / "baselines" / "README.md").read_text(encoding="utf-8")
    manifest = (ROOT / "deploy" / "ab-test.yaml").read_text(encoding="utf-8")
    (image,) = re.findall(r"image: (roberta-sentiment-lexicon:\S+)", manifest)
    assert image in readme
    assert "baselines" in (ROOT / ".s2iignore").read_text(encoding="utf-8").splitlines()
