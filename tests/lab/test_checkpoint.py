"""lab/checkpoint.sh: the weights of the checkpoint, which the working tree does not hold."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import ROOT

SUMS = ROOT / "lab" / "training" / "checkpoint" / "SHA256SUMS"
WEIGHTS = b"weights" * 1000
IN_PLACE = Path("lab/training/checkpoint/model.safetensors")

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    command = ["git", *identity, *arguments]
    return subprocess.run(
        command, cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def get(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["lab/checkpoint.sh", *arguments]
    return subprocess.run(command, cwd=clone, capture_output=True, text=True)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose second commit deletes the weights, as this one's does."""
    folder = tmp_path_factory.mktemp("origin")
    (folder / IN_PLACE).parent.mkdir(parents=True)
    shutil.copy2(ROOT / "lab" / "checkpoint.sh", folder / "lab")
    (folder / IN_PLACE).write_bytes(WEIGHTS)
    git(folder, "init", "--quiet")
    git(folder, "config", "uploadpack.allowFilter", "true")
    git(folder, "config", "uploadpack.allowAnySHA1InWant", "true")
    blob = git(folder, "hash-object", str(IN_PLACE))
    (folder / IN_PLACE).with_name("SHA256SUMS").write_text(
        f"# git blob {blob}\n{hashlib.sha256(WEIGHTS).hexdigest()}  {IN_PLACE.name}\n"
    )
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "With weights")
    git(folder, "rm", "--quiet", str(IN_PLACE))
    git(folder, "commit", "--quiet", "--message", "Without weights")
    return folder


@pytest.fixture
def clone(request: pytest.FixtureRequest, origin: Path, tmp_path: Path) -> Path:
    option = getattr(request, "param", "--quiet")
    git(tmp_path, "clone", "--quiet", option, origin.as_uri(), "clone")
    return tmp_path / "clone"


@pytest.mark.parametrize("clone", ["--no-tags", "--filter=blob:none"], indirect=True)
def test_it_comes_from_the_history(clone: Path) -> None:
    """A full clone has it; a partial one fetches it when it is asked for."""
    assert not (clone / IN_PLACE).exists()
    assert 0 == get(clone).returncode
    assert WEIGHTS == (clone / IN_PLACE).read_bytes()
    assert 0 == get(clone).returncode


@pytest.mark.parametrize("clone", ["--depth=1"], indirect=True)
def test_a_shallow_clone_gets_a_way_out(clone: Path, tmp_path: Path) -> None:
    """Both ways of the sentence lead to the weights."""
    done = get(clone)
    assert 1 == done.returncode
    assert done.stderr.startswith("this clone's history does not hold the checkpoint")
    assert ["SHA256SUMS"] == [path.name for path in (clone / IN_PLACE).parent.iterdir()]
    (tmp_path / "copy").write_bytes(WEIGHTS)
    assert 0 == get(clone, "../copy").returncode
    (clone / IN_PLACE).unlink()
    git(clone, "fetch", "--quiet", "--unshallow")
    assert 0 == get(clone).returncode


def test_other_weights_are_refused(clone: Path, tmp_path: Path) -> None:
    """Neither a wrong file nor one that was there before becomes the default model."""
    (tmp_path / "other").write_bytes(WEIGHTS[1:])
    done = get(clone, str(tmp_path / "other"))
    assert 1 == done.returncode
    assert f"{tmp_path}/other is not the file that" in done.stderr
    assert not (clone / IN_PLACE).exists()
    (clone / IN_PLACE).write_bytes(WEIGHTS[1:])
    assert 1 == get(clone).returncode


def test_a_damaged_head_is_named(clone: Path) -> None:
    """The calibrated head lies beside the weights and is checked with them."""
    head = (clone / IN_PLACE).with_name("head.safetensors")
    head.write_bytes(b"head")
    with (head.with_name("SHA256SUMS")).open("a", encoding="ascii") as sums:
        sums.write(f"{hashlib.sha256(b'head').hexdigest()}  {head.name}\n")
    assert 0 == get(clone).returncode
    head.write_bytes(b"")
    done = get(clone)
    assert (1, True) == (
        done.returncode,
        done.stderr.startswith("head.safetensors is not the file"),
    )


def test_the_history_of_this_repository_holds_it() -> None:
    """The blob that SHA256SUMS names has the sha256 that it states."""
    comment, line, *_ = SUMS.read_text(encoding="ascii").splitlines()
    command = ["git", "cat-file", "blob", comment.rpartition(" ")[2]]
    found = subprocess.run(command, cwd=ROOT, capture_output=True)
    if found.returncode:
        pytest.skip("this checkout has no history, or a shallow one")
    assert line.split()[0] == hashlib.sha256(found.stdout).hexdigest()
