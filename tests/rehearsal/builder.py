"""What s2i and Seldon's Python builder make of this folder, step by step.

Follows `assemble` and `run` of seldon-core-s2i-python312:1.19.0. The packages are those that
requirements.txt names, taken from the environment that runs the tests; nothing else is on the path.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
from importlib.metadata import distribution
from pathlib import Path

from baselines.source import build_source
from scripts.sbom import read_requirements
from tests import ROOT

TAKEN = ("python", "version.txt", "license.txt", "licenses")
"""What the builder already has in /microservice, or makes there."""

ENVIRONMENT = "/opt/environment"
"""Where the image has its Python packages."""

PACKAGES = "/opt/packages"
"""Where the links of `ENVIRONMENT` lead: the packages of the tests' environment."""

OIP_ENVIRONMENT = ROOT / ".venv-oip"

RUN = """
: "${MODEL_NAME:?}" "${SERVICE_TYPE:?}"
if [ -x ./before-run ]; then ./before-run; fi
exec seldon-core-microservice "$MODEL_NAME" --service-type "$SERVICE_TYPE" \
    --persistence "$PERSISTENCE"
"""
"""The builder's run step, in /microservice."""

INSTALL = "pip install --no-cache-dir --find-links /whl -r requirements.txt"
"""The line of assemble that installs the packages."""


class AssembleError(Exception):
    """The builder would have stopped here."""


def is_git() -> bool:
    """Whether this folder is a git repository, which s2i clones."""
    return (ROOT / ".git").exists() and shutil.which("git") is not None


def clone(target: Path, umask: int = 0o022) -> Path:
    """What s2i hands to the builder: what a commit would hold, less .s2iignore.

    Args:
        target: an empty folder.
        umask: of the person who clones; git gives files no other mode.
    """
    check_out(target, umask)
    for path in ignored(target):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return target


def check_out(target: Path, umask: int) -> None:
    """What a commit would hold, with the modes that git would give to it."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        source, copy = ROOT / name, target / name
        if source.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy)
    for path in (target, *target.rglob("*")):
        can_be_run = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
        path.chmod((0o777 if can_be_run else 0o666) & ~umask)


def ignored(folder: Path) -> list[Path]:
    """Paths that .s2iignore leaves out.

    s2i reads each line with Go's filepath.Glob: `*` matches dot files too, `**` is no more than
    `*`, and an empty line is the folder itself.
    """
    paths: set[Path] = set()
    for line in (folder / ".s2iignore").read_text(encoding="utf-8").splitlines():
        pattern = line.strip(" ")
        if pattern.startswith("#"):
            continue
        if not pattern:
            raise AssembleError("an empty line in .s2iignore leaves out the whole source")
        if pattern.startswith("!"):
            paths -= set(folder.glob(pattern[1:].replace("**", "*")))
        else:
            paths |= set(folder.glob(pattern.replace("**", "*")))
    return sorted(paths)


def assemble(source: Path, microservice: Path, environment: dict[str, str]) -> None:
    """The steps of `assemble` but for the installation of packages.

    Args:
        source: what s2i passes.
        microservice: the image's folder of the same name, made here.
        environment: variables of .s2i/environment.

    Raises:
        AssembleError: the builder would have stopped, or broken something of its own.
    """
    for name in ("MODEL_NAME", "SERVICE_TYPE", "PERSISTENCE"):
        if not environment.get(name):
            raise AssembleError(f"{name} is not in .s2i/environment")
    for name in TAKEN:
        if (source / name).exists():
            raise AssembleError(f"{name} in the source collides with the builder's own")
    if not (source / "requirements.txt").is_file():
        raise AssembleError("without requirements.txt the builder installs setup.py instead")
    shutil.copytree(source, microservice)
    if os.geteuid() == 0:
        for path in (microservice, *microservice.rglob("*")):
            os.chown(path, 8888, 8888)


@dataclasses.dataclass(frozen=True)
class Image:
    """What the builder made.

    Attributes:
        microservice: its folder /microservice.
        packages: its folder `ENVIRONMENT`.
        environment: variables that every container of it starts with.
        run: what a container of it runs.
        site: where the packages are that its environment links to, by default the tests' own.
    """

    microservice: Path
    packages: Path
    environment: dict[str, str]
    run: str = RUN
    site: Path | None = None

    def binds(self) -> dict[str, Path]:
        """Folders of this machine by their path in the image."""
        base = Path(sys.base_prefix).resolve()
        shared = {"/usr": Path("/usr"), PACKAGES: self.site or _site_packages()}
        if not base.is_relative_to("/usr"):
            shared[str(base)] = base
        return {**shared, ENVIRONMENT: self.packages, "/microservice": self.microservice}


def build(folder: Path, umask: int = 0o022) -> Image:
    """Do what s2i and the builder do with this folder.

    Raises:
        AssembleError: they would have stopped.
    """
    source = folder / "source"
    source.mkdir()
    clone(source, umask)
    return _build(source, folder)


def build_baseline(name: str, folder: Path) -> Image:
    """The same with the source tree of a baseline."""
    return _build(build_source(name, folder / "source"), folder)


def _build(source: Path, folder: Path) -> Image:
    environment = read_environment(source)
    assemble(source, folder / "microservice", environment)
    packages = install(folder / "packages", source / "requirements.txt")
    return Image(folder / "microservice", packages, environment)


def build_with_docker(folder: Path, umask: int) -> Image:
    """Do what the Dockerfile does with this folder: COPY as root, then what it does to modes.

    Args:
        folder: an empty one.
        umask: of the person who cloned; COPY keeps the modes.
    """
    microservice, dockerfile = _copy(folder, umask)
    (requirements,) = re.findall(r"^ARG REQUIREMENTS=(.+)$", dockerfile, flags=re.MULTILINE)
    packages = install(folder / "packages", microservice / requirements, pip=False)
    entry_point = json.loads(re.findall(r"^ENTRYPOINT (.+)$", dockerfile, re.MULTILINE)[-1])[-1]
    return Image(microservice, packages, {}, run=f"exec {entry_point}")


def build_oip(folder: Path, umask: int = 0o022) -> Image:
    """The same for the target oip, with the packages that `make test-oip` has installed."""
    microservice, dockerfile = _copy(folder, umask)
    stage = dockerfile.partition(" AS oip\n")[2].partition("\nFROM ")[0]
    _, _, *command = json.loads(re.findall(r"^ENTRYPOINT (.+)$", stage, re.MULTILINE)[0])
    (site,) = OIP_ENVIRONMENT.glob("lib/python3.12/site-packages")
    packages = folder / "packages"
    (packages / "lib" / "python3.12").mkdir(parents=True)
    (packages / "lib" / "python3.12" / "site-packages").symlink_to(PACKAGES)
    _lay_out_commands(packages)
    _command(packages / "bin" / "mlserver", "mlserver.cli.main")
    return Image(microservice, packages, {}, run=f"exec {' '.join(command)}", site=site)


def _copy(folder: Path, umask: int) -> tuple[Path, str]:
    """What COPY brings into /microservice, and the Dockerfile."""
    checkout, microservice = folder / "checkout", folder / "microservice"
    checkout.mkdir()
    check_out(checkout, umask)
    lines = (checkout / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for name in (line[1:] for line in lines if line.startswith("!")):
        source, copy = checkout / name, microservice / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, copy) if source.is_dir() else shutil.copy2(source, copy)
    microservice.chmod(0o755)
    dockerfile = (checkout / "Dockerfile").read_text(encoding="utf-8")
    for command in re.findall(r"^RUN (chmod .+)$", dockerfile, flags=re.MULTILINE):
        subprocess.run(command, cwd=microservice, shell=True, check=True)  # noqa: S602
    return microservice, dockerfile


def read_environment(source: Path) -> dict[str, str]:
    """Variables that s2i puts into the image."""
    lines = (source / ".s2i" / "environment").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def install(target: Path, requirements: Path, *, pip: bool = True) -> Path:
    """Lay out the packages that the image installs.

    A virtual environment whose packages are links to those of the tests' environment.

    Args:
        target: a folder, made here.
        requirements: pinned and hashed.
        pip: whether the image has it beside them.

    Returns:
        The folder.

    Raises:
        PackageNotFoundError: the requirements name a package that the tests' environment lacks.
    """
    site, commands = target / "lib" / "python3.12" / "site-packages", target / "bin"
    site.mkdir(parents=True)
    _lay_out_commands(target)
    names = [pin.name for pin in read_requirements(requirements)]
    for name in [*names, "pip"] if pip else names:
        package = distribution(name)
        for top in {file.parts[0] for file in package.files or []} - {"..", "__pycache__"}:
            link = site / top
            if not link.is_symlink():
                link.symlink_to(f"{PACKAGES}/{top}")
    _command(commands / "seldon-core-microservice", "seldon_core.microservice")
    if pip:
        _command(commands / "pip", "pip._internal.cli.main")
    return target


def _lay_out_commands(target: Path) -> None:
    (target / "bin").mkdir()
    (target / "bin" / "python").symlink_to(base_python())
    (target / "pyvenv.cfg").write_text(
        f"home = {base_python().parent}\ninclude-system-site-packages = false\n", encoding="utf-8"
    )


def base_python() -> Path:
    """The interpreter below the tests' environment."""
    return Path(sys.base_prefix).resolve() / "bin" / "python3.12"


def _site_packages() -> Path:
    return Path(sysconfig.get_paths()["purelib"]).resolve()


def _command(path: Path, module: str) -> None:
    lines = [
        f"#!{ENVIRONMENT}/bin/python", "import sys", f"from {module} import main",
        "sys.exit(main())",
    ]  # fmt: skip
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    path.chmod(0o755)
