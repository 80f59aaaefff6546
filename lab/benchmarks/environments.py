"""Make the environments: `.venv-bench-NAME` from `contenders/NAME.txt`, with Python 3.11.

`server` is the image's: the packages of requirements.txt and nothing else, with Python 3.12.
`openvino` is the same with OpenVINO, for a Seldon class around it.

    python -m lab.benchmarks.environments [NAME ...]

PYTHON311 names the interpreter. What pip says of an environment that can't be made is kept in
`results/environments.json`, for that is a result too.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from lab.benchmarks.machine import RESULTS, ROOT, errors_in, write

CONTENDERS = Path(__file__).resolve().parent / "contenders"
ON_THE_SERVER = ("openvino",)
"""Those that are also served by Seldon's wrapper, which needs the server's packages."""


class MissingEnvironmentError(Exception):
    """An environment is not there; the message says how to make it."""


def names() -> list[str]:
    """All environments."""
    return ["server", *sorted(path.stem for path in CONTENDERS.glob("*.txt"))]


def python_of(name: str) -> Path:
    """The interpreter of a contender's environment.

    Raises:
        MissingEnvironmentError: it was not made.
    """
    path = ROOT / f".venv-bench-{name}" / "bin" / "python"
    if not path.exists():
        raise MissingEnvironmentError(f"run `python -m lab.benchmarks.environments {name}` first")
    return path


def make(name: str, python: str) -> str:
    """Make a contender's environment; "made", or the last lines of what failed."""
    folder = ROOT / f".venv-bench-{name}"
    if name in ON_THE_SERVER:
        make_server(name)
    else:
        subprocess.run([python, "-m", "venv", "--clear", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "--quiet", "-r", str(CONTENDERS / f"{name}.txt")], capture_output=True, text=True
    )
    if done.returncode == 0:
        return "made"
    shutil.rmtree(folder)
    return errors_in(done.stderr)


def make_server(name: str = "server") -> str:
    """Make the image's environment."""
    script = str(ROOT / "scripts" / "make_venv.sh")
    command = [script, f".venv-bench-{name}", "requirements.txt"]
    subprocess.run(command, cwd=ROOT, check=True)
    return "made"


def main() -> None:
    """Make the environments that are asked for, by default all."""
    python = os.environ.get("PYTHON311") or shutil.which("python3.11")
    if python is None:
        sys.exit("Python 3.11 is needed for the contenders; say where it is: PYTHON311=...")
    known = RESULTS / "environments.json"
    results = json.loads(known.read_text(encoding="utf-8"))["results"] if known.exists() else {}
    for name in sys.argv[1:] or names():
        results[name] = make_server() if name == "server" else make(name, python)
        print(f"{name}: {results[name]}", flush=True)
    write("environments", {"results": results})


if __name__ == "__main__":
    main()
