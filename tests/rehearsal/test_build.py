"""What s2i and the builder make of this folder, and what would stop them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from roberta_sentiment.model.artifact import DEFAULT_MODEL, open_artifact
from scripts.sbom import read_requirements
from tests import ROOT
from tests.rehearsal import builder
from tests.rehearsal.builder import AssembleError

pytestmark = pytest.mark.skipif(
    not builder.is_git(), reason="s2i clones a git repository, and this folder is none"
)

NEEDED = {"Model.py", "before-run", "models", "requirements.txt", "roberta_sentiment",
          "seldon_node", ".s2i"}  # fmt: skip
LEFT_OUT = {"ab", "deploy", "docs", "lab", "scripts", "tests", "baselines",
            ".ci", ".git", ".venv", "Makefile", "Dockerfile"}  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return builder.clone(tmp_path_factory.mktemp("source"))


def assemble(source: Path, target: Path, **changes: str) -> Path:
    environment = {**builder.read_environment(source), **changes}
    builder.assemble(source, target / "microservice", environment)
    return target / "microservice"


def test_the_image_holds_what_the_server_needs(source: Path, tmp_path: Path) -> None:
    """Tests, tools and what git ignores would make it larger and give an attacker more."""
    names = set(os.listdir(assemble(source, tmp_path)))  # noqa: PTH208
    assert names >= NEEDED
    assert set() == names & LEFT_OUT


def test_the_model_arrives_whole(source: Path, tmp_path: Path) -> None:
    """A commit without the weights gives an image that can't start."""
    model = assemble(source, tmp_path) / DEFAULT_MODEL.relative_to(ROOT)
    assert open_artifact(DEFAULT_MODEL).sha256 == open_artifact(model).sha256


def test_the_hook_can_be_run(source: Path, tmp_path: Path) -> None:
    """run looks at the executable bit, and a hook without it is passed over in silence."""
    assert os.access(assemble(source, tmp_path) / "before-run", os.X_OK)


def test_pins_fit_the_builder_s_own_package() -> None:
    """pip installs over the builder's pins without a word, and the server then fails at run time.

    seldon-core is in the builder before requirements.txt is installed.
    """
    pins = {pin.name: pin.version for pin in read_requirements(ROOT / "requirements.txt")}
    needed = [Requirement(line) for line in requires("seldon-core") or []]
    fought = [
        f"{requirement}, pinned to {pins.get(canonicalize_name(requirement.name))}"
        for requirement in needed
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if not requirement.specifier.contains(pins.get(canonicalize_name(requirement.name), "0"))
    ]
    assert needed
    assert [] == fought
    assert "1.19.0" == pins["seldon-core"]


def _with(name: str) -> Callable[[Path], None]:
    return lambda source: (source / name).mkdir()


def _without_requirements(source: Path) -> None:
    (source / "requirements.txt").unlink()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(_with("licenses"), "licenses in the source", id="licenses"),
        pytest.param(_with("python"), "python in the source", id="python"),
        pytest.param(_without_requirements, "installs setup.py instead", id="no-requirements"),
    ],
)
def test_what_stops_assemble_is_noticed(
    source: Path, tmp_path: Path, change: Callable[[Path], None], words: str
) -> None:
    """The rehearsal must fail where the builder would, or it shows nothing."""
    changed = Path(shutil.copytree(source, tmp_path / "changed"))
    change(changed)
    with pytest.raises(AssembleError, match=words):
        assemble(changed, tmp_path)


@pytest.mark.parametrize("name", ["MODEL_NAME", "SERVICE_TYPE", "PERSISTENCE"])
def test_a_missing_variable_is_noticed(source: Path, tmp_path: Path, name: str) -> None:
    """assemble ends without each of the three, though Seldon's own example leaves one out."""
    with pytest.raises(AssembleError, match=f"{name} is not in"):
        assemble(source, tmp_path, **{name: ""})


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        pytest.param("b", {"a", "sub"}, id="name"),
        pytest.param("*\n!a", {"a"}, id="all-but"),
        pytest.param("# b", {"a", "b", "sub"}, id="comment"),
        pytest.param("c", {"a", "b", "sub"}, id="not-in-subfolders"),
    ],
)
def test_s2iignore_is_read_as_s2i_reads_it(tmp_path: Path, lines: str, left: set[str]) -> None:
    """It looks like .gitignore and is not: no pattern reaches into a subfolder."""
    for name in ("a", "b", "sub/c"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / ".s2iignore").write_text(f"{lines}\n", encoding="utf-8")
    ignored = {path.name for path in builder.ignored(tmp_path)}
    assert left == {"a", "b", "sub"} - ignored


def test_an_empty_line_in_s2iignore_is_noticed(tmp_path: Path) -> None:
    """s2i takes it for the source folder itself."""
    (tmp_path / ".s2iignore").write_text("a\n\nb\n", encoding="utf-8")
    with pytest.raises(AssembleError, match="an empty line"):
        builder.ignored(tmp_path)
