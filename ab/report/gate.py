"""What a pipeline reads of a report: one exit code."""

from __future__ import annotations

from ab.record import Content
from ab.report.analysis import Analysis
from ab.report.verdict import Decision, judge

CODES = {Decision.GO: 0, Decision.STOP: 1, Decision.WAIT: 3, Decision.INVALID: 4}
"""Exit codes; 2 is wrong usage, see `ab.errors`."""

_SAYS = {
    Decision.GO: "may go on",
    Decision.STOP: "must stop",
    Decision.WAIT: "not decided yet",
    Decision.INVALID: "no verdict is possible",
}


def decide(analysis: Analysis, max_lost: float) -> tuple[Decision, list[str]]:
    """Whether every challenger may go on, and one sentence for each of them or each flaw.

    Args:
        analysis: of the record.
        max_lost: part of the requests that may end without any answer.
    """
    totals = analysis.totals
    if len(totals.lost) > max_lost * totals.requests:
        return Decision.INVALID, [
            f"{len(totals.lost):,} of {totals.requests:,} requests got no answer; --max-lost "
            f"allows {max_lost:.1%}"
        ]
    verdicts = [(c.b, judge(analysis, c)) for c in analysis.comparisons]
    decisions = [verdict.decision for _, verdict in verdicts]
    order = (Decision.INVALID, Decision.STOP, Decision.WAIT, Decision.GO)
    worst = next((each for each in order if each in decisions), Decision.WAIT)
    return worst, [f"{name}: {_SAYS[verdict.decision]}" for name, verdict in verdicts]


def code_without_figures(content: Content) -> int:
    """The exit code of a record without an answer: nothing was sent yet, or nothing is any good."""
    sent = any(event["event"] == "request" for event in content.events)
    return CODES[Decision.INVALID if sent else Decision.WAIT]
