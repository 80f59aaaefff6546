"""The report as plain JSON values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ab.report.analysis import Analysis, Comparison
from ab.report.totals import warnings
from ab.report.verdict import judge

FORMAT = 4


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
        "plan": dataclasses.asdict(analysis.plan),
        "first": analysis.first,
        "last": analysis.last,
        "labels": list(analysis.labels),
        "models": [_model(dataclasses.asdict(model)) for model in analysis.models],
        "comparisons": [_comparison(analysis, comparison) for comparison in analysis.comparisons],
        "split": {**dataclasses.asdict(analysis.split), "mismatch": analysis.split.mismatch},
        "kept": {**dataclasses.asdict(analysis.kept), "mismatch": analysis.kept.mismatch},
        "totals": dataclasses.asdict(analysis.totals),
        "warnings": warnings(analysis),
    }


def _model(figures: dict[str, Any]) -> dict[str, Any]:
    return {**figures, "latency_s": {f"p{k}": v for k, v in figures["latency_s"].items()}}


def _comparison(analysis: Analysis, comparison: Comparison) -> dict[str, Any]:
    """A comparison with its verdict; of the looks only the last one, which all others led to."""
    figures = dataclasses.asdict(comparison)
    del figures["sequential"]["looks"]
    figures["sequential"]["now"] = dataclasses.asdict(comparison.sequential.now)
    figures["estimate"] = dataclasses.asdict(comparison.estimate)
    verdict = judge(analysis, comparison)
    return {**figures, "verdict": {**dataclasses.asdict(verdict), "decision": verdict.decision}}
