"""The comparison as an HTML page."""

from __future__ import annotations

from pathlib import Path

from ab.compare.analysis import PairedComparison
from ab.compare.show import cells, known_first, rows, verdict
from ab.report.page import accuracy
from roberta_sentiment.tools.page import plot
from roberta_sentiment.tools.page.render import render_page


def render(comparison: PairedComparison) -> str:
    """The comparison for people, with every text that the models label differently."""
    c, pairs = comparison, comparison.pairs
    models = zip((c.a, c.b), (c.accuracy_a, c.accuracy_b), plot.SERIES, strict=False)
    return render_page(
        Path(__file__).with_name("page.html.jinja"),
        comparison=c,
        verdict=verdict(c),
        rows=rows(c),
        disagreements=[(identity, answers) for identity, *answers in map(cells, known_first(c))],
        pictures={
            "accuracy": accuracy(models),
            "pairs": plot.pairs(c.a, c.b, pairs.both, pairs.only_a, pairs.only_b, pairs.neither),
        },
    )
