"""The report as plain JSON values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ab.report.analysis import Analysis, Duel
from ab.report.verdict import judge, warnings

FORMAT = 3


def as_json(analysis: Analysis, record: Mapping[str, str]) -> dict[str, Any]:
    """Every figure of the report. Times are in seconds, shares and accuracies from 0 to 1.

    Args:
        analysis: of the record.
        record: its `name` and `sha256`.
    """
    return {
        "format": FORMAT,
        "record": dict(record),
        "run": dict(analysis.run),
        "terms": dataclasses.asdict(analysis.terms),
        "first": analysis.first,
        "last": analysis.last,
        "labels": list(analysis.labels),
        "models": [_model(dataclasses.asdict(model)) for model in analysis.models],
        "duels": [_duel(analysis, duel) for duel in analysis.duels],
        "split": {**dataclasses.asdict(analysis.split), "mismatch": analysis.split.mismatch},
        "kept": {**dataclasses.asdict(analysis.kept), "mismatch": analysis.kept.mismatch},
        "account": dataclasses.asdict(analysis.account),
        "warnings": warnings(analysis),
    }


def _model(figures: dict[str, Any]) -> dict[str, Any]:
    return {**figures, "latency_s": {f"p{k}": v for k, v in figures["latency_s"].items()}}


def _duel(analysis: Analysis, duel: Duel) -> dict[str, Any]:
    """A duel with its verdict; of the looks only the last one, which all others led to."""
    figures = dataclasses.asdict(duel)
    del figures["sequential"]["looks"]
    figures["sequential"]["now"] = dataclasses.asdict(duel.sequential.now)
    return {**figures, "verdict": dataclasses.asdict(judge(analysis, duel))}
