"""The source tree from which s2i builds a baseline's image: `python -m baselines.source lexicon`.

An image installs one requirements.txt and reads one `.s2i/environment`, so each model gets a tree
of its own: the model's two files at the root, and what it shares with the RoBERTa node beside them.
"""

from __future__ import annotations

import enum
import modulefinder
import shutil
from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).resolve().parent.parent
_NOT_IN_THE_PACKAGE = shutil.ignore_patterns("__pycache__", ".s2i", "requirements.*")


class Baseline(enum.StrEnum):
    """The models, by the name of their folder."""

    LEXICON = "lexicon"
    LINEAR = "linear"


def needed(script: Path) -> list[Path]:
    """The modules of this repository that a script imports, directly or not."""
    finder = modulefinder.ModuleFinder([str(ROOT)])
    for entry in (script, ROOT / "sitecustomize.py"):
        finder.run_script(str(entry))
    modules = (module for name, module in finder.modules.items() if name != "__main__")
    found = [getattr(module, "__file__", None) for module in modules]
    return [Path(file) for file in found if file]


def build_source(name: str, target: Path) -> Path:
    """Write the tree.

    Args:
        name: of the model.
        target: a folder, replaced when it exists.

    Returns:
        The folder.
    """
    shutil.rmtree(target, ignore_errors=True)
    own = ROOT / "baselines" / name
    for file in needed(own / f"{name.capitalize()}.py"):
        copy = target / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copy)
    shutil.copytree(
        own, target / "baselines" / name, ignore=_NOT_IN_THE_PACKAGE, dirs_exist_ok=True
    )
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
