"""The figures of the report as rows of tables."""

from __future__ import annotations

from collections.abc import Callable

from ab.report.analysis import Analysis, Comparison, ModelFigures
from ab.report.segments import Segment
from ab.report.text import Rows, bounds, counts, needed, points, with_bounds
from ab.report.verdict import Finding, Verdict
from ab.stats.interval import ahead
from roberta_sentiment.tools.page.text import millis, number, p_value, percent


def model_rows(analysis: Analysis) -> list[tuple[str, list[str]]]:
    """What each model did, one column a model."""

    def row(name: str, show: Callable[[ModelFigures], str]) -> tuple[str, list[str]]:
        return name, [show(model) for model in analysis.models]

    def quality(name: str, field: str) -> tuple[str, list[str]]:
        return row(name, lambda m: number(getattr(m.quality, field, None)))

    rows = [
        row("declared share of the traffic", lambda m: f"{m.share:.1%}"),
        row("answers", lambda m: f"{m.answers:,}"),
        row("of them with a truth", lambda m: f"{m.judged:,}"),
        row("accuracy", lambda m: percent(m.accuracy.value)),
        row("95% interval (Wilson)", lambda m: bounds(m.accuracy, percent)),
        quality("Matthews correlation", "mcc"),
        quality("F1, mean of the classes", "f1_macro"),
        quality("expected calibration error", "calibration_error"),
        quality("Brier score", "brier"),
    ]
    for p in analysis.models[0].latency_s:
        times = [model.latency_s[p] for model in analysis.models]
        rows.append((f"latency p{p}, ms", [millis(time.value) for time in times]))
        rows.append(("95% interval", [bounds(time, millis) for time in times]))
    return [
        *rows,
        row("answers after the time limit", lambda m: f"{m.late:,}"),
        row("failed first tries", lambda m: counts(m.errors)),
    ]


def comparison_rows(comparison: Comparison, margin: float, verdict: Verdict) -> Rows:
    """The difference from the leading model's side, and what is known about it."""
    c, test = comparison, comparison.sequential
    sure = f"{100 * (1 - test.alpha):.3g}%"
    leader, other, sign = ahead(c.a, c.b, c.estimate)
    one_look, any_look = c.difference.seen_from(sign), c.estimate.seen_from(sign)
    progress = [
        ("decided after answers", f"{test.decided_at:,}" if verdict.decided else "not yet"),
        ("further answers a verdict needs", needed(c.needed)),
    ]
    return [
        (f"accuracy of {leader} minus {other}", points(any_look.value)),
        (f"{sure} interval at any look (sequential)", bounds(any_look, points)),
        ("p-value at any look (sequential)", p_value(test.p_value)),
        (f"the same for one look, {sure} interval (Newcombe)", with_bounds(one_look, points)),
        ("p-value for one look", p_value(c.p_value)),
        *(
            (f"probability that {name} leads by more than {100 * margin:.1f} points", percent(p))
            for name, p in ((c.b, c.b_better), (c.a, c.a_better))[::sign]
        ),
        *(progress if verdict.finding is not Finding.INVALID else ()),
        *((f"guardrail {each.text}", f"{each.state}; {each.figure}") for each in c.guardrails),
        *((f"{each.dimension}: {each.name}", _of_segment(each, sign)) for each in c.segments),
    ]


def _of_segment(segment: Segment, sign: int) -> str:
    """The difference from the side of the model that leads over all texts."""
    first, second = segment.answers[::-sign]
    return (
        f"{with_bounds(segment.difference.seen_from(sign), points)} at any look, of all segments; "
        f"{first:,} and {second:,} answers, p = {p_value(segment.p_value)}"
    )


def split_rows(analysis: Analysis) -> Rows:
    """The observed split against the declared one."""
    split = analysis.split
    tries = zip(analysis.models, split.observed, split.expected, strict=True)
    return [
        *(
            (f"first tries of {m.name}", f"{seen:,}, {expected:,.1f} expected")
            for m, seen, expected in tries
        ),
        ("p-value for one look (chi-square)", p_value(split.p_value)),
        ("p-value at any look", p_value(split.always_valid_p_value)),
        ("does the split fit", _fits(analysis)),
    ]


def _fits(analysis: Analysis) -> str:
    if analysis.split.mismatch:
        return "no"
    if analysis.kept.mismatch:
        return "that of the first tries, not that of their answers"
    unknown = sum(analysis.totals.unknown_errors.values())
    return f"yes, as far as known; {unknown:,} tries have no known model" if unknown else "yes"
