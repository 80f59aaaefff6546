"""The comparison for people and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from ab.compare.analysis import PairedComparison
from ab.report.text import bounds, needed, points, show_rows, with_bounds
from ab.stats.interval import ahead
from roberta_sentiment.tools.page.text import millis, p_value, percent

FORMAT = 2


def verdict(comparison: PairedComparison) -> str:
    """What came out. It rests on the exact test: all texts are there, so there is one look."""
    c = comparison
    if not c.only_one:
        return _finding(c)
    return (
        f"{_finding(c)} It holds for the texts that both answered: {c.a} left {c.missing_a:,} of "
        f"the others without an answer, {c.b} {c.missing_b:,}."
    )


def _finding(c: PairedComparison) -> str:
    if c.pairs.n == 0 or c.difference.value is None:
        return (
            f"No truth is known: {c.b} and {c.a} disagree on {len(c.disagreements):,} of "
            f"{c.texts:,} texts."
        )
    leader, other, sign = ahead(c.a, c.b, c.difference)
    difference = c.difference.seen_from(sign)
    if c.p_value < c.alpha:
        low, high = (100 * max(0.0, end or 0.0) for end in (difference.low, difference.high))
        return (
            f"{leader} beats {other} on these texts, by {low:.1f} to {high:.1f} percentage points."
        )
    return (
        f"No difference between {leader} and {other} is shown: {leader} minus {other} is "
        f"{bounds(difference, points)}."
    )


def rows(comparison: PairedComparison) -> list[tuple[str, str]]:
    """The figures."""
    c = comparison
    test, sure = c.sequential, f"{100 * (1 - c.alpha):.3g}%"
    leader, other, sign = ahead(c.a, c.b, c.difference)
    difference = c.difference.seen_from(sign)
    any_look = test.estimate(c.difference.value).seen_from(sign)
    inside = "" if any_look.value == difference.value else " (the nearest that all looks allow)"
    return [
        ("texts that both answered", f"{c.texts:,}"),
        ("of them with a truth", f"{c.pairs.n:,}"),
        (
            "texts they label differently, with a truth",
            f"{len(c.disagreements):,}, {c.judged_disagreements:,}",
        ),
        (f"accuracy of {c.a}", with_bounds(c.accuracy_a, percent)),
        (f"accuracy of {c.b}", with_bounds(c.accuracy_b, percent)),
        ("both right", f"{c.pairs.both:,}"),
        (f"only {c.a} right", f"{c.pairs.only_a:,}"),
        (f"only {c.b} right", f"{c.pairs.only_b:,}"),
        ("neither right", f"{c.pairs.neither:,}"),
        (f"{leader} minus {other}", points(difference.value)),
        (f"{sure} interval for one look", bounds(difference, points)),
        ("McNemar's exact test, p", p_value(c.p_value)),
        (f"at any look, {sure} interval (sequential)", with_bounds(any_look, points) + inside),
        ("p-value at any look (sequential)", p_value(test.p_value)),
        ("further texts a verdict at any look needs", needed(c.needed) if c.pairs.n else "-"),
        *(
            (f"latency p{p} of {name}, ms", with_bounds(found, millis))
            for name, times in ((c.a, c.latency_a), (c.b, c.latency_b))
            for p, found in times.items()
        ),
        ("texts that only one answered, not counted", f"{len(c.only_one):,}"),
    ]


def show(comparison: PairedComparison, console: Console, limit: int) -> None:
    """Print the figures, the first `limit` disagreements and the verdict."""
    show_rows(console, rows(comparison))
    for warning in comparison.warnings:
        console.print(f"- {warning}")
    if comparison.disagreements and limit:
        table = Table("review", "truth", comparison.a, comparison.b, "text")
        for each in known_first(comparison)[:limit]:
            table.add_row(*cells(each))
        console.print(table)
        more = len(comparison.disagreements) - limit
        if more > 0:
            console.print(f"{more:,} more; --json and --html write them all")
    console.print(f"\n{verdict(comparison)}", style="bold")


def as_json(comparison: PairedComparison) -> dict[str, Any]:
    """Every figure and every disagreement. Times are in seconds, shares from 0 to 1."""
    figures = dataclasses.asdict(comparison)
    del figures["sequential"]["looks"]
    figures["sequential"]["now"] = dataclasses.asdict(comparison.sequential.now)
    estimate = comparison.sequential.estimate(comparison.difference.value)
    for side in ("latency_a", "latency_b"):
        figures[side] = {f"p{p}": found for p, found in figures[side].items()}
    return {
        "format": FORMAT,
        "verdict": verdict(comparison),
        "estimate": dataclasses.asdict(estimate),
        **figures,
    }


def known_first(comparison: PairedComparison) -> list[Mapping[str, Any]]:
    """The texts that the models label differently; those with a truth come first."""
    return sorted(comparison.disagreements, key=lambda each: each["truth"] is None)


def cells(each: Mapping[str, Any]) -> tuple[str, str, str, str, str]:
    """Review, truth, the answers of A and B, text."""
    return (
        each["id"],
        each["truth"] or "?",
        f"{each['a']} {each['score_a']:.2f}",
        f"{each['b']} {each['score_b']:.2f}",
        each["text"] or "",
    )
