"""Count what the repository is made of, as a Markdown table: the working tree, or a commit.

    python -m scripts.code_size [--at COMMIT]

Lines are all lines of Python files; a function's are those from its def to its end.
"""

from __future__ import annotations

import ast
import io
import subprocess
import tarfile
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

ROOT = Path(__file__).resolve().parent.parent
PRODUCTS = {
    "served path": ("Model.py", "sitecustomize.py", "roberta_sentiment/", "*_node/"),
    "tools": (
        "roberta_sentiment/tools/",
        "roberta_sentiment/spark.py",
        "roberta_sentiment/__main__.py",
    ),
    "A/B tool": ("ab/",),
    "rehearsal": ("rehearsal/", "ab/rehearsal/"),
    "laboratory": ("lab/", "training/", "benchmarks/", "baselines/"),
    "scripts": ("scripts/", "deploy/", "setup.py"),
    "tests": ("tests/",),
}
"""Folders of each product, in this layout and in earlier ones; the longest match wins."""
GENERATED = ("build", "dist")

type Sources = Mapping[str, str]
"""Text of each Python file by its path in the repository."""


def working_tree() -> Sources:
    """The files in the repository's own folders."""
    tops = [top for top in ROOT.iterdir() if top.name[0] != "." and top.name not in GENERATED]
    paths = [*ROOT.glob("*.py"), *(path for top in tops for path in top.rglob("*.py"))]
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(paths)
    }


def commit(name: str) -> Sources:
    """The files of a commit.

    Raises:
        subprocess.CalledProcessError: there is no such commit.
    """
    command = ["git", "archive", "--format=tar", name]
    packed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    found = {}
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for member in archive:
            if member.name.endswith(".py") and (file := archive.extractfile(member)):
                found[member.name] = file.read().decode()
    return found


def product(path: str) -> str:
    """The product that a file belongs to; "other" if none."""
    top = path.partition("/")[0]
    matches = [
        (len(prefix), name)
        for name, prefixes in PRODUCTS.items()
        for prefix in prefixes
        if path.startswith(prefix) or (prefix == "*_node/" and top.endswith("_node"))
    ]
    return max(matches)[1] if matches else "other"


def module(path: str) -> str:
    """Dotted name of a file."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imports(name: str, text: str, known: Container[str]) -> set[str]:
    """The modules among the known ones that a module imports, but for type checkers only."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = {target for node in ast.walk(tree) for target in _targets(node, known)}
    return {target for target in found if target in known and target != name}


def _targets(node: ast.AST, known: Container[str]) -> Iterator[str]:
    """Names of imported modules; of `from package import name` the module `name` if it is one."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            yield inner if inner in known else node.module


def import_graph(sources: Sources) -> dict[str, set[str]]:
    """The modules of the repository that each of them imports."""
    texts = {module(path): text for path, text in sources.items()}
    return {name: imports(name, text, texts) for name, text in texts.items()}


def circles(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """Groups of modules that import each other, directly or not."""
    reached = {name: _reachable(graph, name) for name in graph}
    groups = {frozenset(m for m in reached[n] if n in reached[m]) for n in graph}
    return [set(group) for group in groups if group]


def _reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = [*graph[start]]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += graph[name]
    return found


def function_lines(text: str) -> list[int]:
    """Lines of each function and method."""
    return [
        (node.end_lineno or node.lineno) - node.lineno + 1
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def rows(sources: Sources) -> Iterator[tuple[str, int, int, int, int, str]]:
    """Product, lines, modules, median and 90th percentile of function lines, longest module."""
    for name in [*PRODUCTS, "other"]:
        files = {path: text for path, text in sources.items() if product(path) == name}
        if files:
            lengths = {path: text.count("\n") for path, text in files.items()}
            functions = [size for text in files.values() for size in function_lines(text)] or [0]
            longest = max(lengths, key=lengths.__getitem__)
            middle, long = (round(size) for size in np.percentile(functions, (50, 90)))
            shown = f"{longest} ({lengths[longest]})"
            yield name, sum(lengths.values()), len(files), middle, long, shown


def table(sources: Sources) -> str:
    """The Markdown table, and below it the import circles."""
    lines = [
        "| product | lines | modules | median of functions | 90th percentile | longest module |",
        "|---|---|---|---|---|---|",
        *(f"| {' | '.join(map(str, row))} |" for row in rows(sources)),
        "",
    ]
    found = circles(import_graph(sources))
    lines.append(f"Import circles: {len(found)}")
    lines += [f"- {', '.join(sorted(group))}" for group in found]
    return "\n".join(lines)


def main(
    at: Annotated[str, typer.Option(help="A commit instead of the working tree.")] = "",
) -> None:
    """Print the table."""
    try:
        print(table(commit(at) if at else working_tree()))
    except subprocess.CalledProcessError as error:
        raise typer.BadParameter(error.stderr.decode().strip()) from None


if __name__ == "__main__":
    typer.run(main)
