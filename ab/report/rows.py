"""The figures as names and texts, for the terminal and the page alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ab.report.analysis import Analysis, Duel, ModelFigures
from ab.stats.interval import Interval

Row = tuple[str, list[str]]

NONE = "-"


def of_models(analysis: Analysis) -> list[Row]:
    """What each model did, one column a model."""

    def row(name: str, show: Callable[[ModelFigures], str]) -> Row:
        return name, [show(model) for model in analysis.models]

    rows = [
        row("declared share of the traffic", lambda m: f"{m.share:.1%}"),
        row("answers", lambda m: f"{m.answers:,}"),
        row("of them with a truth", lambda m: f"{m.judged:,}"),
        row("accuracy", lambda m: percent(m.accuracy.value)),
        row("95 % interval (Wilson)", lambda m: ends(m.accuracy, percent)),
        row("Matthews correlation", lambda m: number(m.mcc)),
        row("F1, mean of the classes", lambda m: number(m.macro_f1)),
        row("expected calibration error", lambda m: number(m.calibration_error)),
        row("Brier score", lambda m: number(m.brier)),
    ]
    for percent_rank in analysis.models[0].latency_s:
        times = [model.latency_s[percent_rank] for model in analysis.models]
        rows.append((f"latency p{percent_rank}, ms", [millis(time.value) for time in times]))
        rows.append(("95 % interval", [ends(time, millis) for time in times]))
    rows += [
        row("answers after the time limit", lambda m: f"{m.late:,}"),
        row("failed first tries", lambda m: counts(m.errors)),
    ]
    return rows


def of_duel(duel: Duel, margin: float) -> list[tuple[str, str]]:
    """The difference and what is known about it."""
    test, sure = duel.sequential, f"{100 * (1 - duel.sequential.alpha):.3g} %"
    return [
        (f"accuracy of {duel.b} minus {duel.a}", points(duel.difference.value)),
        (f"{sure} interval for one look (Newcombe)", ends(duel.difference, points)),
        ("p-value for one look", p_value(duel.p_value)),
        (
            f"{sure} interval at any look (sequential)",
            ends(Interval(None, test.now.low, test.now.high), points),
        ),
        ("p-value at any look (sequential)", p_value(test.p_value)),
        ("decided after answers", f"{test.decided_at:,}" if test.decided_at else "not yet"),
        (
            f"probability that {duel.b} leads by more than {100 * margin:.1f} points",
            percent(duel.b_better),
        ),
        (
            f"probability that {duel.a} leads by more than {100 * margin:.1f} points",
            percent(duel.a_better),
        ),
        ("further answers a verdict needs", needed(duel.needed)),
    ]


def of_split(analysis: Analysis) -> list[tuple[str, str]]:
    """The observed split against the declared one."""
    split = analysis.split
    shares = zip(analysis.models, split.observed, split.declared, strict=True)
    total = sum(split.observed)
    return [
        *(
            (f"first tries of {m.name}", f"{seen:,}, declared {share * total:,.1f}")
            for m, seen, share in shares
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
    unknown = sum(analysis.account.unknown_errors.values())
    return f"yes, as far as known; {unknown:,} tries have no known model" if unknown else "yes"


def of_account(analysis: Analysis) -> list[tuple[str, str]]:
    """Where every request has gone."""
    account = analysis.account
    lists: list[tuple[str, Any]] = [
        ("answered at a later try only, left out", account.retried),
        ("on their way when the run was killed, left out", account.interrupted),
        ("late, counted once", account.late),
        ("answered twice, counted once", account.duplicated),
        ("tried again, perhaps answered twice", account.repeated),
        ("of an unknown model, counted for none", account.unattributed),
        ("of a model that is left out", account.other_models),
        ("with two different truths, counted as without", account.contradicted),
        ("feedback that may or may not have been counted", account.uncertain_feedback),
    ]
    return [
        ("requests", f"{account.requests:,}"),
        ("answered at the first try", f"{account.answered:,}"),
        ("first tries that failed, model unknown", counts(account.unknown_errors)),
        ("lost, without any answer", f"{len(account.lost):,}"),
        ("how the lost ones ended", counts(account.errors)),
        *((name, f"{len(ids):,}") for name, ids in lists),
        ("answers that wait for a truth", f"{account.without_truth:,}"),
        ("reviews not sent yet", f"{account.unsent:,}"),
        ("unreadable lines of the record", f"{account.unreadable:,}"),
    ]


def percent(value: float | None) -> str:
    """A share."""
    return NONE if value is None else f"{value:.1%}"


def points(value: float | None) -> str:
    """A difference of shares."""
    return NONE if value is None else f"{100 * value:+.1f} points"


def number(value: float | None) -> str:
    """A figure without a unit."""
    return NONE if value is None else f"{value:.3f}"


def millis(seconds: float | None) -> str:
    """A time in ms."""
    return NONE if seconds is None else f"{1000 * seconds:,.1f}"


def p_value(value: float | None) -> str:
    """A p-value; tiny ones by their bound."""
    if value is None:
        return NONE
    return f"{value:.2g}" if value >= 1e-12 else "below 1e-12"


def ends(interval: Interval, show: Callable[[float | None], str]) -> str:
    """Both ends of an interval; an end that the data can't bound is left open."""
    if interval.low is None and interval.high is None:
        return NONE
    if interval.low is None or interval.high is None:
        known = interval.high if interval.low is None else interval.low
        return f"{'below' if interval.low is None else 'above'} {show(known)}"
    return f"{show(interval.low)} to {show(interval.high)}"


def counts(numbers: dict[str, int]) -> str:
    """Numbers by name."""
    return ", ".join(f"{name} {n:,}" for name, n in numbers.items()) or "0"


def needed(answers: int | None) -> str:
    """Further answers."""
    if answers == 0:
        return "decided"
    return "more than can be told" if answers is None else f"about {answers:,}"
