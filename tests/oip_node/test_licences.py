"""No package in this environment is under the Business Source Licence."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest

pytest.importorskip("mlserver", reason="make test-oip runs these in an environment with MLServer")

BUSL = re.compile(r"business source licen[cs]e|BUSL|\bBSL[- ]?1\.1", re.IGNORECASE)


def statements(package: Distribution) -> Iterator[str]:
    """What a package says of its licence, and how its licence files begin."""
    metadata = package.metadata
    for field in ("License-Expression", "License", "Classifier"):
        yield from metadata.get_all(field) or []
    for file in package.files or ():
        if re.search(r"licen[cs]e|copying", file.name, re.IGNORECASE):
            path = Path(str(package.locate_file(file)))
            if path.is_file() and path.suffix not in (".py", ".so"):
                yield path.read_text(encoding="utf-8", errors="replace")[:400]


def is_busl(package: Distribution) -> bool:
    return any(map(BUSL.search, statements(package)))


def test_nothing_installed_is_under_busl() -> None:
    """Serving by this door in production needs no licence from Seldon."""
    packages = {package.metadata["Name"]: package for package in distributions()}
    assert {"mlserver", "onnxruntime"} <= packages.keys()
    assert [] == [name for name, package in packages.items() if is_busl(package)]
    assert importlib.util.find_spec("seldon_core") is None


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ("License: Business Source License 1.1", ""),
        ("License-Expression: BUSL-1.1", ""),
        ("Classifier: License :: Other", "Business Source License 1.1\n\nParameters"),
    ],
    ids=["field", "expression", "file"],
)
def test_a_package_under_busl_is_found(tmp_path: Path, metadata: str, licence: str) -> None:
    """Wherever it says so."""
    folder = tmp_path / "x-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: x\nVersion: 1\n{metadata}\n")
    (folder / "LICENSE").write_text(licence)
    (folder / "RECORD").write_text("x-1.dist-info/LICENSE,,\n")
    assert is_busl(Distribution.at(folder))
