"""The verdict in plain language."""

from __future__ import annotations

import dataclasses
import enum

from ab.report.analysis import Analysis, Comparison
from ab.report.guardrails import State
from ab.report.segments import sentences
from ab.stats.interval import ahead
from ab.stats.power import TestPlan
from ab.stats.split import ALARM, check_split


class Finding(enum.StrEnum):
    """What a comparison can show."""

    B_WINS = "b_wins"
    A_WINS = "a_wins"
    EQUIVALENT = "equivalent"
    OPEN = "open"
    INVALID = "invalid"


_WON = (Finding.A_WINS, Finding.B_WINS)


class Decision(enum.StrEnum):
    """What a pipeline does with B, the challenger."""

    GO = "go"
    STOP = "stop"
    WAIT = "wait"
    INVALID = "invalid"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The outcome of a comparison.

    Attributes:
        finding: what it shows.
        headline: one sentence.
        reasons: the sentences behind it.
        not_worse: B is shown not to be worse than A by the margin.
        broken: guardrails that B is shown to break, one sentence each.
    """

    finding: Finding
    headline: str
    reasons: tuple[str, ...]
    not_worse: bool = False
    broken: tuple[str, ...] = ()

    @property
    def decided(self) -> bool:
        """Whether one of the two won."""
        return self.finding in (Finding.A_WINS, Finding.B_WINS)

    @property
    def decision(self) -> Decision:
        """Whether B may go on, must stop, or nothing is decided yet."""
        if self.finding is Finding.INVALID:
            return Decision.INVALID
        if not self.broken and (self.not_worse or self.finding is Finding.B_WINS):
            return Decision.GO
        return Decision.STOP if self.broken or self.finding is Finding.A_WINS else Decision.WAIT


def judge(analysis: Analysis, comparison: Comparison) -> Verdict:
    """Decide by the sequential test, unless the data can't support any verdict."""
    c, plan = comparison, analysis.plan
    flaw = _flaw(analysis, c)
    if flaw:
        return Verdict(Finding.INVALID, f"No verdict on {c.b} and {c.a}.", (flaw,))
    finding = _finding(c, plan)
    if plan.twins:
        return _of_twins(finding, c)
    if finding is Finding.EQUIVALENT:
        headline = f"{c.b} and {c.a} are equally good, within {_points(plan.margin)}."
    elif finding is Finding.OPEN:
        headline = f"Not decided yet whether {c.b} or {c.a} is better. {_needed(c)}"
    else:
        headline = _lead(c, plan)
    broken = tuple(
        f"{c.b} breaks the guardrail {check.text}: {check.figure}."
        for check in c.guardrails
        if check.state is State.BROKEN
    )
    reasons = (*broken, *_reasons(finding, c), *sentences(c.segments, c.a, c.b, plan.correction))
    if broken:
        headline += f" But {c.b} breaks {'a guardrail' if len(broken) == 1 else 'guardrails'}."
    return Verdict(finding, headline, reasons, c.sequential.now.low > -plan.margin, broken)


def _of_twins(finding: Finding, comparison: Comparison) -> Verdict:
    """Copies of one model must not differ; that they do not yet is as it must be."""
    c = comparison
    unfair = (*c.faults, *(_reasons(finding, c) if finding in _WON else ()))
    if unfair:
        headline = f"The set-up favours one: {c.a} and {c.b} ought to be the same model."
        return Verdict(Finding.INVALID, headline, unfair)
    headline = f"The set-up is fair: {c.a} and {c.b} are told apart by nothing that was looked at."
    return Verdict(Finding.EQUIVALENT, headline, _reasons(finding, c), not_worse=True)


def _flaw(analysis: Analysis, comparison: Comparison) -> str | None:
    """Why no verdict may be drawn; None when one may."""
    split, models = analysis.split, analysis.models
    ours = [m for m in models if m.name in (comparison.a, comparison.b)]
    if split.mismatch:
        tries = ", ".join(
            f"{model.name} {observed:,} instead of {expected:,.0f}"
            for model, observed, expected in zip(
                models, split.observed, split.expected, strict=True
            )
        )
        return (
            f"The first tries are not split as declared ({tries}; p below {ALARM})."
            f"{_explained(analysis)} Requests fail or are routed otherwise for one "
            "of the models, so that they did not get the same kind of texts. Fix this and restart, "
            "or state the true shares with --models."
        )
    if analysis.kept.mismatch:
        failures = ", ".join(f"{m.name} on {sum(m.errors.values()):,}" for m in models)
        return (
            f"One model fails far more often ({failures} first tries; "
            f"p = {analysis.kept.p_value:.1g}, alarm below {ALARM}), so that the texts left to "
            "both are not of the same kind. Fix this and restart."
        )
    for m in ours:
        if len(m.versions) > 1:
            return (
                f"{m.name} answered in {len(m.versions)} versions ({', '.join(m.versions)}); start "
                "another record for the new one."
            )
    unjudged = [m.name for m in ours if not m.judged]
    if unjudged:
        return f"No answer of {' and none of '.join(unjudged)} has a truth."
    if comparison.sequential.contradicts:
        return (
            "No single difference fits the whole test: it changed during the test. Was a model "
            "replaced, or did the texts change?"
        )
    return None


def _explained(analysis: Analysis) -> str:
    """The model whose share fits if it had caused all failures without a known model."""
    split, unknown = analysis.split, sum(analysis.totals.unknown_errors.values())
    for i, model in enumerate(analysis.models):
        tries = [seen + unknown * (i == j) for j, seen in enumerate(split.observed)]
        if unknown and not check_split(tries, split.declared).mismatch:
            return (
                f" {unknown:,} more failed at a model that nothing names: were all of {model.name},"
                " the split would fit."
            )
    return ""


def _finding(comparison: Comparison, plan: TestPlan) -> Finding:
    look = comparison.sequential.now
    if comparison.sequential.decided_at is not None:
        return Finding.B_WINS if look.low + look.high > 0 else Finding.A_WINS
    if -plan.margin < look.low and look.high < plan.margin:
        return Finding.EQUIVALENT
    return Finding.OPEN


def _lead(comparison: Comparison, plan: TestPlan) -> str:
    """Who wins, and the smallest and largest lead that fit the data."""
    c, look = comparison, comparison.sequential.now
    winner, loser, sign = ahead(c.a, c.b, c.estimate)
    least, most = sorted(max(0.0, sign * end) for end in (look.low, look.high))
    enough = "perhaps by less than"
    if least > plan.margin:
        enough = "more than"
    elif most <= plan.margin:
        enough = "but by less than"
    return (
        f"{winner} beats {loser}, by {100 * least:.1f} to {_points(most)}: {enough} the "
        f"{_points(plan.margin)} that matter."
    )


def _needed(comparison: Comparison) -> str:
    if comparison.needed is None:
        return "At this rate it may never be: they are too much alike for this margin."
    return f"About {comparison.needed:,} more answers with a truth are likely to decide it."


def _reasons(finding: Finding, comparison: Comparison) -> tuple[str, ...]:
    c, test = comparison, comparison.sequential
    leader, other, sign = ahead(c.a, c.b, c.estimate)
    low, high = sorted((100 * sign * test.now.low, 100 * sign * test.now.high))
    lead = _points(abs(c.estimate.value or 0.0))
    so_far = f"So far {leader} is right {lead} more often than {other}."
    if c.estimate.value != c.difference.value:
        so_far += (
            f" That is the nearest lead which all looks together allow; the answers by now show "
            f"{100 * sign * (c.difference.value or 0.0):+.1f} points."
        )
    bounds = (
        f"With {100 * (1 - test.alpha):.3g}% confidence, however often one looks, the accuracy of "
        f"{leader} minus that of {other} lies between {low:+.1f} and {high:+.1f} percentage points."
    )
    if finding in _WON:
        return so_far, bounds, f"The test was decided after {test.decided_at:,} answers."
    return so_far, bounds


def _points(value: float) -> str:
    return f"{100 * value:.1f} percentage points"
