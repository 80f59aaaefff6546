"""One HTML file without any reference to another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ab import html
from ab.report import picture, rows
from ab.report.analysis import Analysis
from ab.report.verdict import judge, warnings


def render(analysis: Analysis, record: Mapping[str, str]) -> str:
    """The report for people.

    Args:
        analysis: of the record.
        record: its `name` and `sha256`.
    """
    return html.render(
        Path(__file__).parent,
        analysis=analysis,
        record=record,
        names=[model.name for model in analysis.models],
        verdicts=[judge(analysis, duel) for duel in analysis.duels],
        warnings=warnings(analysis),
        duels=[(duel, picture.sequence(duel, analysis.terms.margin)) for duel in analysis.duels],
        duel_rows=[rows.of_duel(duel, analysis.terms.margin) for duel in analysis.duels],
        model_rows=rows.of_models(analysis),
        split_rows=rows.of_split(analysis),
        account_rows=rows.of_account(analysis),
        pictures={
            "accuracy": picture.accuracy(analysis),
            "latency": picture.latency(analysis),
            "reliability": picture.reliability(analysis),
            "confusion": [picture.confusion(analysis, m) for m in analysis.models],
        },
    )
