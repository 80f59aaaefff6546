"""`python -m scripts.code_size`: the figures of a repository whose figures are known."""

from __future__ import annotations

import subprocess
import sys

import pytest

from scripts import code_size
from tests import ROOT

SOURCES = {
    "Model.py": "import roberta_sentiment.text\n\n\ndef one() -> int:\n    return 1\n",
    "roberta_sentiment/__init__.py": "",
    "roberta_sentiment/text.py": "def f():\n    from roberta_sentiment import run\n    run\n",
    "roberta_sentiment/run.py": "import roberta_sentiment.text as text\n",
    "ab/cli.py": "import os\n",
    "elsewhere.py": "def f():\n    pass\n",
}


def test_each_product_has_a_row() -> None:
    """Lines, modules, the middle and the long functions, and the module to look at first."""
    assert [
        ("served path", 9, 4, 2, 3, "Model.py (5)"),
        ("A/B tool", 1, 1, 0, 0, "ab/cli.py (1)"),
        ("other", 2, 1, 2, 2, "elsewhere.py (2)"),
    ] == list(code_size.rows(SOURCES))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("oip_node/runtime.py", "served path", id="any-door"),
        pytest.param("roberta_sentiment/tools/score/cli.py", "tools", id="inside-another"),
        pytest.param("training/loop.py", "laboratory", id="earlier-layout"),
        pytest.param("elsewhere.py", "other", id="none"),
    ],
)
def test_where_a_file_belongs(path: str, expected: str) -> None:
    """The longest matching folder decides."""
    assert expected == code_size.product(path)


def test_a_circle_is_found_through_an_import_in_a_function() -> None:
    """Moving an import into a function hides a circle from Python, and not from a reader."""
    graph = code_size.import_graph(SOURCES)
    assert {"roberta_sentiment.text"} == graph["Model"]
    assert [{"roberta_sentiment.text", "roberta_sentiment.run"}] == code_size.circles(graph)


def test_a_package_is_not_what_imports_its_modules() -> None:
    """`from package import module` names the module, whatever the package imports itself."""
    sources = {"p/__init__.py": "from p.a import f\n", "p/a.py": "from p import b\n", "p/b.py": ""}
    assert {"p": {"p.a"}, "p.a": {"p.b"}, "p.b": set()} == code_size.import_graph(sources)


def test_an_import_for_type_checkers_is_none() -> None:
    """It is not there when the program runs."""
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import b\n"
    assert {} == {k: v for k, v in code_size.import_graph({"a.py": text, "b.py": ""}).items() if v}


def test_an_unknown_commit_gets_a_sentence() -> None:
    """Git's own, and no trace."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.code_size", "--at", "nonsense"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert 2 == done.returncode
    assert "Traceback" not in done.stderr
    assert "nonsense" in done.stderr
