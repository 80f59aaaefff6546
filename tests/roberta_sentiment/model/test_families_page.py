"""The table of families in docs/models.md is what the command prints."""

from __future__ import annotations

import re
from pathlib import Path

from scripts.compare_families import table
from tests import ROOT, families

PAGE = ROOT / "docs" / "models.md"
_FIGURE = re.compile(r"\d+e[+-]\d+")


def test_the_page_holds_what_the_command_prints(tmp_path: Path) -> None:
    """All rows in order; the figures are rounding, which differs between CPUs, and stay below
    what is promised.
    """
    text = PAGE.read_text(encoding="utf-8")
    shown = text.partition("<!-- families -->\n")[2].partition("<!-- /families -->")[0]
    printed = table(families.unpack(tmp_path))
    assert _FIGURE.sub("x", printed) == _FIGURE.sub("x", shown)
    figures = [float(figure) for figure in _FIGURE.findall(printed + shown)]
    assert len(figures) == 2 * 8 * len(families.FAMILIES) * len(families.HEADS)
    assert max(figures) <= 1e-5
