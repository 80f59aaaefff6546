"""One HTML file without any reference to another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ab import html
from ab.report import picture, rows
from ab.report.analysis import Analysis
from ab.report.totals import totals_rows, warnings
from ab.report.verdict import judge


def render(analysis: Analysis, record: Mapping[str, str]) -> str:
    """The report for people.

    Args:
        analysis: of the record.
        record: its `name` and `sha256`.
    """
    margin = analysis.plan.margin
    return html.render(
        Path(__file__).parent,
        analysis=analysis,
        record=record,
        names=[model.name for model in analysis.models],
        verdicts=[judge(analysis, comparison) for comparison in analysis.comparisons],
        warnings=warnings(analysis),
        comparisons=[
            (each, picture.sequence(each, margin), rows.comparison_rows(each, margin))
            for each in analysis.comparisons
        ],
        model_rows=rows.model_rows(analysis),
        split_rows=rows.split_rows(analysis),
        totals_rows=totals_rows(analysis),
        pictures={
            "accuracy": picture.accuracy(analysis),
            "latency": picture.latency(analysis),
            "reliability": picture.reliability(analysis),
            "confusion": [picture.confusion(analysis, m) for m in analysis.models],
        },
    )
