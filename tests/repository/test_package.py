"""The package that pip builds: complete, and with the extras that messages name."""

from __future__ import annotations

import subprocess
import sys
import zipfile

import pytest

from roberta_sentiment.tools.extras import EXTRA
from tests import ROOT

PACKAGES = ("roberta_sentiment", "seldon_node", "ab")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built without network from a copy of the tracked files."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in (*PACKAGES, "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(source)], check=True)
    for path in ROOT.glob("requirements*.in"):
        (source / path.name).write_bytes(path.read_bytes())
    subprocess.run(
        [sys.executable, "setup.py", "-q", "bdist_wheel", "--dist-dir", str(target)],
        cwd=source, check=True, capture_output=True,
    )  # fmt: skip
    (file,) = target.glob("*.whl")
    return zipfile.ZipFile(file)


def test_every_module_and_template_is_in_it(wheel: zipfile.ZipFile) -> None:
    """A forgotten package shows only after the installation, at the first import."""
    wanted = {
        str(path.relative_to(ROOT))
        for name in PACKAGES
        for pattern in ("*.py", "*.jinja")
        for path in (ROOT / name).rglob(pattern)
    }
    assert wanted <= set(wheel.namelist())


def test_the_extra_that_a_message_names_exists(wheel: zipfile.ZipFile) -> None:
    """The way out must lead somewhere."""
    (metadata,) = [name for name in wheel.namelist() if name.endswith("/METADATA")]
    extra = EXTRA.partition("[")[2].rstrip("]")
    assert f"Provides-Extra: {extra}" in wheel.read(metadata).decode()
