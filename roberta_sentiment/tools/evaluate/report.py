"""The evaluation for people: figures, sentences, and the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from roberta_sentiment.tools.evaluate import picture
from roberta_sentiment.tools.evaluate.run import Evaluation, Flip, Mistake, Result
from roberta_sentiment.tools.metrics import Comparison
from roberta_sentiment.tools.page import plot
from roberta_sentiment.tools.page.render import render_page
from roberta_sentiment.tools.page.text import millis, number, p_value, percent

SHOWN_TEXTS = 200
"""Texts in each table of the report; the JSON file has them all."""
ALPHA = 0.05
"""p-value below which one model is called better."""
SHOWN_CONFUSIONS = 20

Rows = list[tuple[str, list[str]]]
"""Name and figures of each row of a table."""


def figures(models: Sequence[Result]) -> Rows:
    """The figures of each model as names and texts, for a table."""

    def row(name: str, show: Callable[[Result], str]) -> tuple[str, list[str]]:
        return name, [show(model) for model in models]

    return [
        row("accuracy", lambda m: percent(m.quality.accuracy)),
        row("95% interval (Wilson)", _interval),
        row("Matthews correlation", lambda m: number(m.quality.mcc)),
        row("F1, mean of the classes", lambda m: number(m.quality.f1_macro)),
        row("expected calibration error", lambda m: number(m.quality.calibration_error)),
        row("Brier score", lambda m: number(m.quality.brier)),
        row("latency p50, ms", lambda m: millis(m.latency.p50 / 1000)),
        row("latency p90, ms", lambda m: millis(m.latency.p90 / 1000)),
        row("latency p99, ms", lambda m: millis(m.latency.p99 / 1000)),
        row("texts a second, batched", lambda m: f"{m.texts_per_second:,.0f}"),
        row("tokens a text, mean", lambda m: f"{m.tokens.mean:.1f}"),
        row("tokens a text, most", lambda m: f"{m.tokens.most:,}"),
        row("truncated texts", lambda m: f"{m.truncated:,}"),
    ]


def _interval(model: Result) -> str:
    return " to ".join(map(percent, model.quality.accuracy_interval))


def findings(evaluation: Evaluation) -> list[str]:
    """What came out: a sentence about the model, and one about it and the other."""
    found, other = [_finding(evaluation.model)], evaluation.other
    if evaluation.comparison and other:
        found.append(_finding_of_two(evaluation.comparison, evaluation.model, other))
    return found


def _finding(model: Result) -> str:
    quality = model.quality
    right = sum(row[i] for i, row in enumerate(quality.confusion))
    return (
        f"{model.name} is right on {right:,} of {quality.texts:,} texts: "
        f"{percent(quality.accuracy)}, with 95% confidence {_interval(model)} of texts like these."
    )


def _finding_of_two(comparison: Comparison, model: Result, other: Result) -> str:
    """From the side of the model that is right more often."""
    c = comparison
    sides = [(c.only_first, model.name), (c.only_second, other.name)]
    (fewer, behind), (more, ahead) = sorted(sides, key=lambda side: side[0])
    which = f"it alone is right on {more:,} texts, {behind} alone on {fewer:,}"
    if c.p_value < ALPHA:
        return f"{ahead} beats {behind} on these texts: {which}."
    if more == fewer:
        return (
            f"No difference between {model.name} and {other.name} is shown: each alone is right "
            f"on {more:,} texts."
        )
    return f"No difference is shown, though {ahead} is ahead of {behind}: {which}."


def render(evaluation: Evaluation) -> str:
    """The report of an evaluation as HTML.

    Raises:
        StartError: jinja2 or matplotlib is not installed.
    """
    model, compared = evaluation.model, evaluation.comparison
    models = [m for m in (model, evaluation.other) if m]
    return render_page(
        Path(__file__).with_name("report.html.jinja"),
        facts=evaluation.facts,
        remarks=evaluation.remarks,
        models=models,
        findings=findings(evaluation),
        figures=figures(models),
        classes=_classes(model),
        confused=_confused(model),
        mistakes=[_mistake(mistake) for mistake in evaluation.mistakes[:SHOWN_TEXTS]],
        all_mistakes=len(evaluation.mistakes),
        comparison=compared,
        p=p_value(compared.p_value) if compared else "",
        flips=[_flip(flip) for flip in evaluation.flips[:SHOWN_TEXTS]],
        pictures=_pictures(evaluation, models),
    )


def _classes(model: Result) -> Rows:
    return [
        (label, [percent(c.precision), percent(c.recall), percent(c.f1), f"{c.texts:,}"])
        for label, c in zip(model.labels, model.quality.classes, strict=True)
    ]


def _confused(model: Result) -> Rows:
    """The most frequent mistakes, where the picture has no room for numbers."""
    if len(model.labels) <= plot.NUMBERED:
        return []
    found = plot.confused(model.labels, model.quality.confusion)[:SHOWN_CONFUSIONS]
    return [(f"{true} as {called}", [f"{n:,}", percent(part)]) for true, called, n, part in found]


def _mistake(mistake: Mistake) -> tuple[str, list[str]]:
    m = mistake
    return f"{m.number}", [m.truth, f"{m.label} {percent(m.score)}", m.text]


def _flip(flip: Flip) -> tuple[str, list[str]]:
    answers = [(flip.label, flip.score), (flip.other_label, flip.other_score)]
    called = [f"{label} {percent(score)}" for label, score in answers]
    return f"{flip.number}", [flip.truth, *called, flip.text]


def _pictures(evaluation: Evaluation, models: Sequence[Result]) -> dict[str, str]:
    model, c = evaluation.model, evaluation.comparison
    named = list(zip(models, plot.SERIES, strict=False))
    pictures = {
        "accuracy": plot.intervals(
            "accuracy", "accuracy, with its 95% interval", [_mark(*each) for each in named]
        ),
        "confusion": plot.confusion("confusion", model.name, model.labels, model.quality.confusion),
        "reliability": plot.reliability([(m.name, m.quality.bins, colour) for m, colour in named]),
        "scores": picture.scores(evaluation.truth, evaluation.probabilities),
    }
    if c and evaluation.other:
        counts = c.both_right, c.only_first, c.only_second, c.both_wrong
        pictures["pairs"] = plot.pairs(model.name, evaluation.other.name, *counts)
    return pictures


def _mark(model: Result, colour: str) -> plot.Mark:
    quality = model.quality
    figures = f"{percent(quality.accuracy)}, {_interval(model)}"
    return plot.Mark(model.name, figures, quality.accuracy, *quality.accuracy_interval, colour)
