"""The source tree from which s2i builds a baseline's image: `python -m baselines.source lexicon`.

An image installs one requirements.txt and reads one `.s2i/environment`, so each model gets a tree
of its own: the model's two files at the root, and what it shares with the RoBERTa node beside them.
"""

from __future__ import annotations

import enum
import shutil
from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).resolve().parent.parent
NEEDED = {
    "seldon_node": (
        "__init__", "answer", "feedback", "grpc_server", "grpc_stop", "health", "host_limits",
        "logs", "metrics", "metrics_page", "metrics_store", "node", "payload", "preflight",
        "repairs", "rest_app", "rest_body", "rest_server", "rest_worker", "restarts",
        "supervisor", "truths",
    ),
    "roberta_sentiment": (
        "__init__", "caller", "cpu", "errors", "heads", "predictions", "settings", "texts",
        "version",
    ),
    "baselines": ("__init__", "node", "words"),
}  # fmt: skip
"""Modules that the image shares with the RoBERTa node."""

_NOT_IN_THE_PACKAGE = shutil.ignore_patterns("__pycache__", ".s2i", "requirements.*")


class Baseline(enum.StrEnum):
    """The models, by the name of their folder."""

    LEXICON = "lexicon"
    LINEAR = "linear"


def build_source(name: str, target: Path) -> Path:
    """Write the tree anew.

    Args:
        name: of the model.
        target: a folder, replaced when it exists.

    Returns:
        The folder.
    """
    shutil.rmtree(target, ignore_errors=True)
    for package, modules in NEEDED.items():
        (target / package).mkdir(parents=True)
        for module in modules:
            shutil.copy2(ROOT / package / f"{module}.py", target / package)
    own = ROOT / "baselines" / name
    shutil.copytree(own, target / "baselines" / name, ignore=_NOT_IN_THE_PACKAGE)
    shutil.copytree(own / ".s2i", target / ".s2i")
    shutil.copy2(own / "requirements.txt", target)
    for name in ("LICENSE", "sitecustomize.py"):
        shutil.copy2(ROOT / name, target)
    return target


def main(
    name: Baseline,
    target: Annotated[Path | None, typer.Argument(help="Default: build/s2i/NAME.")] = None,
) -> None:
    """Write the source tree of a baseline's image."""
    typer.echo(build_source(name, target or ROOT / "build" / "s2i" / name))


if __name__ == "__main__":
    typer.run(main)
