"""Which product of the repository knows which."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping

import pytest

from scripts import code_size
from tests import ROOT

GRAPH = code_size.import_graph(code_size.working_tree())
SERVER = ("Model", "sitecustomize", "roberta_sentiment", "seldon_node", "oip_node")
FORBIDDEN: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(SERVER, ("ab", "baselines", "lab", "rehearsal", "scripts", "tests")),
    "seldon_node": ("oip_node", "ab", "baselines", "lab", "rehearsal", "scripts", "tests"),
    "oip_node": ("seldon_node", "ab", "baselines", "lab", "rehearsal", "scripts", "tests"),
    "ab": ("baselines", "lab", "rehearsal", "scripts", "tests"),
    "baselines.lexicon": ("ab", "lab", "rehearsal", "scripts", "tests"),
    "baselines.linear": ("ab", "lab", "rehearsal", "scripts", "tests"),
    "lab": ("ab", "rehearsal", "tests"),
    "rehearsal": ("baselines", "lab", "tests"),
    "tests": ("lab.benchmarks",),
}
"""What no module below a name may import, in a function or at its top."""


def within(module: str, name: str) -> bool:
    """Whether a module is the named one, or lies in it."""
    return f"{module}.".startswith(f"{name}.")


@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_product_does_not_import_what_is_built_on_it(name: str) -> None:
    """Laboratory and A/B tool know the server; the server is read and shipped without them."""
    found = [
        f"{module} imports {imported}"
        for module, imports in GRAPH.items()
        for imported in sorted(imports)
        if within(module, name) and any(within(imported, other) for other in FORBIDDEN[name])
    ]
    assert [] == found


def test_no_modules_import_each_other() -> None:
    """A circle can't be read, tested or moved in parts; an import in a function counts too."""
    assert [] == [sorted(group) for group in code_size.circles(GRAPH)]


def test_every_rule_is_about_a_module_that_exists() -> None:
    """A rule for a renamed module would always hold."""
    named = {*FORBIDDEN, *(name for names in FORBIDDEN.values() for name in names)}
    assert set() == {name for name in named if not any(within(m, name) for m in GRAPH)}


WAYS = re.findall(
    r"^(\w.+)\n((?:  .+\n)+)",
    (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("```text\n")[2],
    flags=re.MULTILINE,
)
"""Title and lines of each way of docs/architecture.md."""
PACKAGES = ("roberta_sentiment", "seldon_node", "oip_node")


def steps(way: str) -> Iterator[tuple[str, bool]]:
    """Full name of each module of a way, and whether another program calls it."""
    package = ""
    for line in way.splitlines():
        fields = re.split(r" {2,}", line.strip())
        called_from_outside = fields[0].startswith("[")
        fields = fields[called_from_outside:]
        package = fields.pop(0) if fields[0] in PACKAGES else package
        for name in fields[0].split(" > "):
            yield name if name in GRAPH else f"{package}.{name}", called_from_outside
            called_from_outside = False


@pytest.mark.parametrize("way", [pytest.param(lines, id=title) for title, lines in WAYS])
def test_a_way_of_the_page_is_that_of_the_imports(way: str) -> None:
    """Each module is there, and imported by one before it unless another program calls it."""
    before: set[str] = set()
    for name, called_from_outside in steps(way):
        assert name in GRAPH, name
        if not within(name, "oip_node") or importlib.util.find_spec("mlserver"):
            importlib.import_module(name)
        assert called_from_outside or any(name in GRAPH[other] for other in before), name
        before.add(name)


def test_the_page_shows_every_way() -> None:
    """The checks above would pass for a page without any, and for ways without modules."""
    titles = ("A REST request", "A gRPC message", "A V2 request", "Feedback", "A model directory")
    assert titles == tuple(title for title, _ in WAYS)
    assert all(len(list(steps(lines))) > 2 for _, lines in WAYS)
