"""What a result must say about where it came from."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from roberta_sentiment import container

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "lab" / "benchmarks" / "results"
_LINES_KEPT = 6
_ERROR = re.compile(r"\bERROR\b|[eE]rror:")
_CODE = (":/", ":(exclude)lab/benchmarks/results", ":(exclude)*.md", ":(exclude)docs")
_PACKAGES = (
    "onnxruntime", "onnxruntime-gpu", "torch", "tokenizers", "numpy", "seldon-core", "grpcio",
    "gunicorn",
)  # fmt: skip


def describe() -> dict[str, Any]:
    """Machine, versions, commit, date and command of this run."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": " ".join(["python", "-m", _module(), *sys.argv[1:]]),
        "commit": _commit(),
        "cpu": container.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "python_profile_guided": "--enable-optimizations"
        in str(sysconfig.get_config_var("CONFIG_ARGS")),
        "packages": dict(_versions()),
    }


def _versions() -> Iterator[tuple[str, str]]:
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            yield name, importlib.metadata.version(name)


def write(name: str, result: dict[str, Any]) -> Path:
    """Write a result with its origin to lab/benchmarks/results; return its path.

    Messages may name files; where this machine keeps them is nobody's business.
    """
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    text = json.dumps({**describe(), **result}, indent=2) + "\n"
    for folder, name in ((ROOT, "."), (Path.home(), "~")):
        text = text.replace(f"{folder}/", f"{name}/")
    path.write_text(text, encoding="utf-8")
    return path


def errors_in(log: str) -> str:
    """The last lines of a log that name an error, else its last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return " | ".join([line for line in lines if _ERROR.search(line)][-_LINES_KEPT:] or lines[-1:])


def _module() -> str:
    path = Path(sys.argv[0]).resolve()
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def _commit() -> str:
    """The commit; "-dirty" if code differs from it. Results and pages change while we measure."""
    commit = _git("describe", "--always")
    return f"{commit}-dirty" if _git("status", "--short", "--", *_CODE) else commit


def _git(*words: str) -> str:
    run = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    return run.stdout.strip()
