"""make image, and the Dockerfile: the same image as s2i's, for those without it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from roberta_sentiment.version import __version__
from scripts.serve import image_environment
from tests import ROOT
from tests.manifests.node import HEALTH
from tests.rehearsal import builder
from tests.rehearsal.cluster import containers, production
from tests.service import Service

IMAGE = f"roberta-sentiment:{__version__}"
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
TOOLS = ("bash", "sed", "git", "dirname", "env")


def values(instruction: str) -> list[str]:
    """What stands behind each instruction of a name in the Dockerfile."""
    return re.findall(rf"^{instruction} +(.+)$", DOCKERFILE, flags=re.MULTILINE)


def fake(folder: Path, name: str, line: str = 'echo "$0 $@"') -> None:
    path = folder / name
    path.write_text(f"#!/bin/bash\n{line}\n", encoding="ascii")
    path.chmod(0o755)


def make_image(folder: Path, *builders: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`make image` where nothing but the tools it needs and fake builders can be found."""
    for tool in TOOLS:
        (folder / tool).symlink_to(str(shutil.which(tool)))
    for name in builders:
        fake(folder, name, f'echo "{name} $@"')
    command = [str(shutil.which("make")), "image", *(f"{k}={v}" for k, v in variables.items())]
    return subprocess.run(
        command, cwd=ROOT, env={"PATH": str(folder)}, capture_output=True, text=True
    )


@pytest.mark.parametrize("builders", [("s2i",), ("s2i", "docker")], ids=" and ".join)
def test_s2i_comes_first(tmp_path: Path, builders: tuple[str, ...]) -> None:
    """It is what the cluster's owner knows, and its builder is of the wrapper's own release."""
    done = make_image(tmp_path, *builders)
    seldon = re.search(r"^seldon-core==(\S+)", (ROOT / "requirements.in").read_text(), re.M)
    assert seldon
    expected = f"s2i build . seldonio/seldon-core-s2i-python312:{seldon[1]} {IMAGE}\n"
    assert (0, expected) == (done.returncode, done.stdout)


def test_docker_comes_second(tmp_path: Path) -> None:
    """Without s2i the Dockerfile gives the same."""
    done = make_image(tmp_path, "docker")
    assert (0, f"docker build --tag {IMAGE} .\n") == (done.returncode, done.stdout)


def test_the_image_can_be_named(tmp_path: Path) -> None:
    """A registry's address goes before the name."""
    done = make_image(tmp_path, "docker", IMAGE="registry.example/reviews:2")
    assert "docker build --tag registry.example/reviews:2 .\n" == done.stdout


def test_neither_gets_one_sentence(tmp_path: Path) -> None:
    """It says what to install."""
    done = make_image(tmp_path)
    assert 0 != done.returncode
    assert done.stderr.startswith("neither s2i nor docker is installed; get s2i from https://")


@pytest.mark.skipif(not builder.is_git(), reason="s2i clones a git repository")
def test_docker_gets_what_s2i_gets(tmp_path: Path) -> None:
    """One list lets in, the other keeps out; both must mean the same files."""
    from_s2i = {path.name for path in builder.clone(tmp_path).iterdir()} - {".s2iignore"}
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    from_docker = {line[1:].partition("/")[0] for line in lines if line.startswith("!")}
    assert "*" in lines
    assert from_s2i == from_docker - {"scripts"}
    assert {"default"} == {path.name for path in (tmp_path / "models").iterdir()}


def test_the_base_is_slim_pinned_and_of_our_python() -> None:
    """One file says which Python; a tag can be moved to other content, a digest can't."""
    version = (ROOT / ".python-version").read_text(encoding="ascii").strip()
    (base,) = {base.split()[0] for base in values("FROM")} - {"base"}
    assert re.fullmatch(rf"python:{version}\.\d+-slim-bookworm@sha256:[0-9a-f]{{64}}", base)


def test_what_debian_adds_is_pinned() -> None:
    """The same file builds the same image next year."""
    (install,) = [run for run in values("RUN") if "apt-get install" in run]
    packages = install.partition("apt-get install")[2].partition("&&")[0].split()
    assert all("=" in package for package in packages if not package.startswith("-"))


def test_the_user_is_the_pod_s() -> None:
    """The number of Seldon's own images, the same in every manifest."""
    (container,) = containers(production())
    assert [str(container.spec["securityContext"]["runAsUser"])] == values("USER")


def test_packages_are_hashed() -> None:
    """What s2i installs, and nothing that anybody has changed since."""
    assert any("pip install" in line and "--require-hashes" in line for line in values("RUN"))


def test_no_variable_is_repeated() -> None:
    """.s2i/environment is the one place for them; a second one would drift."""
    assert ["PATH"] == [line.partition("=")[0] for line in values("ENV")]
    assert [] == [name for name in image_environment() if re.search(rf"\b{name}\b", DOCKERFILE)]


def test_the_health_check_asks_the_model(service: Service) -> None:
    """Exit code 0 for a node that is ready, not 0 where nothing answers."""
    (line,) = values("HEALTHCHECK")
    command = json.loads(line.partition("CMD ")[2])
    assert HEALTH in command[-1]
    command[0] = sys.executable
    for port, healthy in ((service.http, True), (1, False)):
        variables = {**os.environ, "PREDICTIVE_UNIT_HTTP_SERVICE_PORT": str(port)}
        done = subprocess.run(command, env=variables, capture_output=True)
        assert healthy == (done.returncode == 0)


@pytest.fixture
def entrypoint(tmp_path: Path) -> Path:
    """The entry point in its folder, with a server that shows what it was given."""
    (line,) = values("ENTRYPOINT")
    script = str(json.loads(line)[-1])
    folder = tmp_path / "microservice"
    (folder / "scripts").mkdir(parents=True)
    shutil.copytree(ROOT / ".s2i", folder / ".s2i")
    shutil.copy2(ROOT / script, folder / script)
    fake(folder, "before-run", "echo prepared")
    fake(folder, "seldon-core-microservice", 'echo "$@"; env')
    return folder / script


def run(entrypoint: Path, **variables: str) -> list[str]:
    folder = entrypoint.parent.parent
    environment = {"PATH": f"{folder}:/usr/bin:/bin", **variables}
    done = subprocess.run([entrypoint], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_the_entry_point_does_what_run_does(entrypoint: Path) -> None:
    """The hook, the variables, then the server with the arguments of s2i's run."""
    hook, arguments, *variables = run(entrypoint)
    assert "prepared" == hook
    assert "Model --service-type MODEL --persistence 0" == arguments
    assert {f"{name}={value}" for name, value in image_environment().items()} <= set(variables)


def test_the_pod_s_variables_win(entrypoint: Path) -> None:
    """As with ENV in an image; HOME=/ is the runtime's word, not the pod's."""
    shown = run(entrypoint, GUNICORN_THREADS="7", HOME="/nowhere")
    assert "GUNICORN_THREADS=7" in shown
    assert f"HOME={image_environment()['HOME']}" in shown
