"""What the image is made of: pinned, hashed, licensed and listed, with no code from model files."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from roberta_sentiment.model.artifact import DEFAULT_MODEL, open_artifact
from scripts import sbom
from scripts.sbom import Pin, SbomError
from tests import ROOT

PINS = sbom.read_requirements(ROOT / "requirements.txt")
SERVER = [ROOT / "Model.py", *(ROOT / "seldon_node").glob("*.py"),
          *(ROOT / "roberta_sentiment").glob("*.py")]  # fmt: skip
RUNS_CODE = {"pickle", "dill", "joblib", "marshal", "shelve", "torch"}


@pytest.fixture(scope="module")
def bom() -> dict[str, Any]:
    made: dict[str, Any] = json.loads(sbom.bom_json(sbom.build_bom(PINS)))
    return made


def test_the_bill_of_materials_is_valid(bom: dict[str, Any]) -> None:
    """Scanners refuse what the schema of CycloneDX 1.5 refuses."""
    assert JsonStrictValidator(SchemaVersion.V1_5).validate_str(json.dumps(bom)) is None


def test_it_lists_every_package_and_the_model(bom: dict[str, Any]) -> None:
    """What is not listed is not looked at when a vulnerability comes out."""
    listed = {(c["name"], c["version"]) for c in bom["components"]}
    model = open_artifact(DEFAULT_MODEL)
    assert {(p.name, p.version) for p in PINS} | {(model.name, model.version)} == listed
    (weights,) = [c for c in bom["components"] if c["type"] == "machine-learning-model"]
    assert [{"alg": "SHA-256", "content": model.sha256}] == weights["hashes"]


def test_every_package_is_needed_by_something(bom: dict[str, Any]) -> None:
    """From the component itself, dependencies lead to each package of requirements.txt."""
    graph = {d["ref"]: d.get("dependsOn", []) for d in bom["dependencies"]}
    reached, waiting = set(), [sbom.NAME]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += graph[name]
    assert {c["bom-ref"] for c in bom["components"]} | {sbom.NAME} == reached


def test_checksums_are_those_that_pip_accepts(bom: dict[str, Any]) -> None:
    """With them, a scanner can tell the package installed from one of the same name."""
    accepted = {pin.name: set(pin.sha256) for pin in PINS}
    for component in bom["components"]:
        if component["type"] == "library":
            (files,) = component["externalReferences"]
            assert accepted[component["name"]] == {h["content"] for h in files["hashes"]}


def test_the_page_of_licences_is_up_to_date() -> None:
    """It is made from requirements.txt; `make sbom` renews it."""
    page = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    assert sbom.licence_page(PINS) == page


@pytest.mark.parametrize("file", ["requirements.txt", "torch.txt", "torch-cpu.txt"])
def test_the_environment_of_torch_is_pinned_by_hashes(file: str) -> None:
    """It makes the weights that are shipped; pip refuses whatever has another hash."""
    lines = (
        (ROOT / "lab" / "training" / file)
        .read_text(encoding="utf-8")
        .replace("\\\n", " ")
        .splitlines()
    )
    pins = [line for line in lines if line.strip() and not line.strip().startswith("#")]
    assert pins
    assert all(re.match(r"[\w.-]+(\[\w+\])?==\S+.* --hash=sha256:", pin) for pin in pins)


def test_the_business_source_licence_is_stated() -> None:
    """A user who runs this in production has to know before, not after."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    licences = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    assert "Business Source Licence" in readme
    assert "Business Source Licence" in licences
    assert "1.17.1" in licences, "why an older release is no way out"
    (seldon,) = [pin for pin in PINS if pin.name == "seldon-core"]
    assert "BUSL-1.1" == sbom.licence_of(sbom.metadata_of(seldon))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        pytest.param("numpy>=1.26", "numpy>=1.26 is not pinned", id="range"),
        pytest.param("numpy==1.26.4", "numpy is not pinned and hashed", id="no-hash"),
    ],
)
def test_a_loose_requirement_is_refused(tmp_path: Path, line: str, words: str) -> None:
    """One line without a hash, and anybody who holds the index holds the image."""
    path = tmp_path / "requirements.txt"
    path.write_text(f"{line}\n", encoding="utf-8")
    with pytest.raises(SbomError, match=words):
        sbom.read_requirements(path)


@pytest.mark.parametrize(
    ("pin", "words"),
    [
        pytest.param(Pin("numpy", "0.1", ()), "requirements.txt says 0.1", id="version"),
        pytest.param(Pin("no-such-package", "1", ()), "is not installed", id="missing"),
    ],
)
def test_another_environment_is_refused(pin: Pin, words: str) -> None:
    """Licences of packages that are not the image's would be a guess."""
    with pytest.raises(SbomError, match=words):
        sbom.metadata_of(pin)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({"License-Expression": "MIT", "License": "ISC"}, "MIT", id="spdx"),
        pytest.param({"License": "Apache License 2.0"}, "Apache-2.0", id="words"),
        pytest.param(
            {"License": "All\nof it", "Classifier": "License :: OSI Approved :: MIT License"},
            "MIT", id="classifier",
        ),
        pytest.param({"License": "BSD License"}, "BSD License", id="no-text-named"),
    ],
)  # fmt: skip
def test_how_a_licence_is_read(fields: dict[str, str], expected: str) -> None:
    """SPDX comes first, and a word that names no text stays a word."""
    assert expected == sbom.licence_of(_metadata(fields))


def test_a_package_without_a_licence_is_named() -> None:
    """Silence is no permission."""
    with pytest.raises(SbomError, match="thing states no licence"):
        sbom.licence_of(_metadata({"Name": "thing", "License": "UNKNOWN"}))


def _metadata(fields: dict[str, str]) -> Any:
    message = Message()
    for name, value in fields.items():
        message[name] = value
    return message


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def test_the_server_reads_nothing_that_runs_code() -> None:
    """A pickle runs whatever its author wrote; models are ONNX and JSON only."""
    found = {path.name: RUNS_CODE & set(_imported(path)) for path in SERVER}
    assert {} == {name: modules for name, modules in found.items() if modules}
    texts = [path.read_text(encoding="utf-8") for path in SERVER]
    allowed = [re.findall(r"(?:allow_pickle|trust_remote_code)(?!=False\b).*", t) for t in texts]
    assert [] == [line for lines in allowed for line in lines]


def test_the_server_runs_without_torch_and_transformers() -> None:
    """What is not imported can neither be attacked nor fill memory."""
    code = (
        "import sys; from Model import Model; node = Model(); node.load(); "
        "print(sorted({'torch', 'transformers', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "[]" == done.stdout.splitlines()[-1]
