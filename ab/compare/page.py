"""The comparison as an HTML page."""

from __future__ import annotations

from pathlib import Path

from ab import html
from ab.compare import picture
from ab.compare.analysis import PairedComparison
from ab.compare.show import cells, known_first, rows, verdict


def render(comparison: PairedComparison) -> str:
    """The comparison for people, with every text that the models label differently."""
    return html.render(
        Path(__file__).parent,
        comparison=comparison,
        verdict=verdict(comparison),
        rows=rows(comparison),
        disagreements=[cells(each) for each in known_first(comparison)],
        pictures={"accuracy": picture.accuracy(comparison), "pairs": picture.pairs(comparison)},
    )
