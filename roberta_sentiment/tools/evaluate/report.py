"""One HTML file without any reference to another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from roberta_sentiment.tools.evaluate.picture import draw
from roberta_sentiment.tools.evaluate.run import Evaluation, Result
from roberta_sentiment.tools.output import render_page

SHOWN_FLIPS = 200
"""Flipped texts in the report; the JSON file has them all."""


def figures(models: Sequence[Result]) -> list[tuple[str, list[str]]]:
    """The figures of each model as names and texts, for a table."""

    def row(name: str, show: Callable[[Result], str]) -> tuple[str, list[str]]:
        return name, [show(model) for model in models]

    return [
        row("accuracy", lambda m: f"{m.quality.accuracy:.4f}"),
        row(
            "95 % interval (Wilson)",
            lambda m: "{:.4f} to {:.4f}".format(*m.quality.accuracy_interval),
        ),
        row("Matthews' correlation", lambda m: _number(m.quality.mcc)),
        row("F1, mean of the classes", lambda m: f"{m.quality.f1_macro:.4f}"),
        row("expected calibration error", lambda m: f"{m.quality.calibration_error:.4f}"),
        row("Brier score", lambda m: f"{m.quality.brier:.4f}"),
        row("latency p50, ms", lambda m: f"{m.latency.p50:.2f}"),
        row("latency p90, ms", lambda m: f"{m.latency.p90:.2f}"),
        row("latency p99, ms", lambda m: f"{m.latency.p99:.2f}"),
        row("texts a second, batched", lambda m: f"{m.texts_per_second:,.0f}"),
        row("tokens a text, mean", lambda m: f"{m.tokens.mean:.1f}"),
        row("tokens a text, most", lambda m: f"{m.tokens.most:,}"),
        row("truncated texts", lambda m: f"{m.truncated:,}"),
    ]


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def render(evaluation: Evaluation) -> str:
    """The report of an evaluation as HTML.

    Raises:
        StartError: jinja2 or matplotlib is not installed.
    """
    model = evaluation.model
    models = [m for m in (model, evaluation.other) if m]
    picture = draw(model.labels, model.quality, evaluation.truth, evaluation.probabilities)
    return render_page(
        Path(__file__).with_name("report.html.jinja"),
        facts=evaluation.facts,
        models=models,
        figures=figures(models),
        comparison=evaluation.comparison,
        flips=evaluation.flips[:SHOWN_FLIPS],
        all_flips=len(evaluation.flips),
        picture=picture,
    )
