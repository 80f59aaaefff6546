"""The classifier package has layers, and imports lead down."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ROOT

PACKAGE = "roberta_sentiment"
LAYERS = (
    ("version", "errors", "container", "caller", "label_names"),
    ("settings",),
    ("graph",),
    ("run",),
    ("model",),
    ("text", "predictions"),
    ("trial",),
    ("classifier",),
    ("serving",),
    ("tools", "spark"),
    ("__main__",),
)
"""From the ground up; a module may import those of its own layer and below."""
LEVELS = {part: level for level, parts in enumerate(LAYERS) for part in parts}
MODULES = sorted(path for path in (ROOT / PACKAGE).rglob("*.py") if path.name != "__init__.py")


def imports(path: Path) -> Iterator[str]:
    """Full names of what a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(name: str) -> str:
    return name.split(".")[1]


def own(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", MODULES, ids=own)
def test_imports_lead_down(path: Path) -> None:
    """A reader of a module needs to know only the layers below it, and no door."""
    level = LEVELS[part_of(own(path))]
    for name in imports(path):
        first = name.partition(".")[0]
        assert first not in (
            "seldon_node",
            "oip_node",
            "ab",
            "lab",
            "baselines",
            "tests",
            "Model",
        ), name
        if first == PACKAGE and name != f"{PACKAGE}.__version__":
            assert LEVELS[part_of(name)] <= level, name
