"""What s2i and Seldon's Python builder make of this folder, step by step.

Follows `assemble` and `run` of seldon-core-s2i-python312:1.19.0. The packages are those that
requirements.txt names, taken from the environment that runs the tests; nothing else is on the path.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

from scripts.sbom import read_requirements

ROOT = Path(__file__).resolve().parent.parent.parent
TAKEN = ("python", "version.txt", "license.txt", "licenses")
"""What the builder already has in /microservice, or makes there."""

_BUILDER_HAS = ("pip", "setuptools")

RUN = """
: "${MODEL_NAME:?}" "${SERVICE_TYPE:?}"
if [ -x ./before-run ]; then ./before-run; fi
exec seldon-core-microservice "$MODEL_NAME" --service-type "$SERVICE_TYPE" \
    --persistence "$PERSISTENCE"
"""


class AssembleError(Exception):
    """The builder would have stopped here."""


def is_git() -> bool:
    """Whether this folder is a git repository, which s2i clones."""
    return (ROOT / ".git").exists() and shutil.which("git") is not None


def clone(target: Path) -> Path:
    """What s2i hands to the builder: what a commit would hold, less .s2iignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        source, copy = ROOT / name, target / name
        if source.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy)
    for path in ignored(target):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return target


def ignored(folder: Path) -> list[Path]:
    """Paths that .s2iignore takes out.

    s2i reads each line with Go's filepath.Glob: `*` matches dot files too, `**` is no more than
    `*`, and an empty line is the folder itself.
    """
    paths: set[Path] = set()
    for line in (folder / ".s2iignore").read_text(encoding="utf-8").splitlines():
        pattern = line.strip(" ")
        if pattern.startswith("#"):
            continue
        if not pattern:
            raise AssembleError("an empty line in .s2iignore takes out the whole source")
        if pattern.startswith("!"):
            paths -= set(folder.glob(pattern[1:].replace("**", "*")))
        else:
            paths |= set(folder.glob(pattern.replace("**", "*")))
    return sorted(paths)


def assemble(source: Path, microservice: Path, environment: dict[str, str]) -> None:
    """The steps of `assemble` but for the installation of packages.

    Args:
        source: what s2i hands over.
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


def install(image: Path) -> Path:
    """Lay out the packages of requirements.txt, and what the builder has beside them.

    Args:
        image: a folder, made here: `site` to import from, `bin` with the commands.

    Returns:
        The folder.

    Raises:
        PackageNotFoundError: requirements.txt names a package that the tests' environment lacks.
    """
    site, commands = image / "site", image / "bin"
    site.mkdir(parents=True)
    commands.mkdir()
    names = [r.name for r in read_requirements(ROOT / "requirements.txt")]
    for name in (*names, *_BUILDER_HAS):
        package = distribution(name)
        for top in {file.parts[0] for file in package.files or []} - {".."}:
            link = site / top
            if not link.exists() and top != "__pycache__":
                link.symlink_to(Path(str(package.locate_file(top))))
    _command(commands / "seldon-core-microservice", "seldon_core.microservice")
    _command(commands / "pip", "pip._internal.cli.main")
    (commands / "python").symlink_to(base_python())
    return image


def base_python() -> Path:
    """The interpreter below the tests' environment."""
    return Path(sys.base_prefix) / "bin" / "python3.12"


def _command(path: Path, module: str) -> None:
    lines = [f"#!{base_python()}", "import sys", f"from {module} import main", "sys.exit(main())"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    path.chmod(0o755)
