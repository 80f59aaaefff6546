"""One HTML file without any reference to another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ab.report import picture, rows
from ab.report.analysis import Analysis
from ab.report.totals import totals_rows, warnings
from ab.report.verdict import judge
from ab.stats.interval import ahead
from roberta_sentiment.tools.page import plot
from roberta_sentiment.tools.page.render import render_page


def render(analysis: Analysis, record: Mapping[str, str]) -> str:
    """The report for people.

    Args:
        analysis: of the record.
        record: its `name` and `sha256`.
    """
    margin = analysis.plan.margin
    verdicts = [judge(analysis, comparison) for comparison in analysis.comparisons]
    return render_page(
        Path(__file__).with_name("page.html.jinja"),
        analysis=analysis,
        record=record,
        names=[model.name for model in analysis.models],
        verdicts=verdicts,
        warnings=warnings(analysis),
        comparisons=[
            (
                verdict,
                ahead(each.a, each.b, each.estimate),
                picture.sequence(each, margin, verdict.decided),
                rows.comparison_rows(each, margin, verdict),
            )
            for each, verdict in zip(analysis.comparisons, verdicts, strict=True)
        ],
        model_rows=rows.model_rows(analysis),
        split_rows=rows.split_rows(analysis),
        totals_rows=totals_rows(analysis),
        pictures=_pictures(analysis),
    )


def _pictures(analysis: Analysis) -> dict[str, Any]:
    models = picture.coloured(analysis)
    return {
        "accuracy": picture.accuracy((m.name, m.accuracy, colour) for m, colour in models),
        "latency": picture.latency(analysis),
        "reliability": plot.reliability(
            [(m.name, m.quality.bins if m.quality else (), colour) for m, colour in models]
        ),
        "confusion": [
            (
                m.name,
                plot.confusion(f"confusion {m.name}", m.name, analysis.labels, m.quality.confusion),
            )
            for m, _ in models
            if m.quality
        ],
    }
