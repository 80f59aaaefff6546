"""What a pipeline reads of a report: one exit code."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ab.errors import ABError, AnalysisError
from ab.record import Event, read_record
from ab.report.analysis import Analysis
from ab.report.verdict import Decision, judge
from ab.transport.reply import Outcome

CODES = {Decision.GO: 0, Decision.STOP: 1, Decision.WAIT: 3, Decision.INVALID: 4}
USAGE = 2
"""Wrong options, or no record that can be read: what a shell gives for wrong usage, too."""

_SAYS = {
    Decision.GO: "may go on",
    Decision.STOP: "must stop",
    Decision.WAIT: "not decided yet",
    Decision.INVALID: "no verdict is possible",
}


def decide(
    analysis: Analysis, events: Sequence[Event], max_lost: float
) -> tuple[Decision, list[str]]:
    """Whether every challenger may go on, and one sentence for each of them or each flaw.

    Args:
        analysis: of the record.
        events: of the record.
        max_lost: part of the requests that may end without any answer.
    """
    totals = analysis.totals
    found = list(mixed_versions(events))
    if len(totals.lost) > max_lost * totals.requests:
        found.append(
            f"{len(totals.lost):,} of {totals.requests:,} requests got no answer; --max-lost "
            f"allows {max_lost:.1%}"
        )
    if found:
        return Decision.INVALID, found
    verdicts = [(c.b, judge(analysis, c)) for c in analysis.comparisons]
    decisions = [verdict.decision for _, verdict in verdicts]
    order = (Decision.INVALID, Decision.STOP, Decision.WAIT, Decision.GO)
    worst = next((each for each in order if each in decisions), Decision.WAIT)
    return worst, [f"{name}: {_SAYS[verdict.decision]}" for name, verdict in verdicts]


def code_of_error(record: Path, error: ABError) -> int:
    """The exit code where there are no figures: nothing was sent yet, or nothing is any good."""
    if not isinstance(error, AnalysisError):
        return USAGE
    sent = any(event["event"] == "request" for event in read_record(record).events)
    return CODES[Decision.INVALID if sent else Decision.WAIT]


def mixed_versions(events: Iterable[Event]) -> Iterator[str]:
    """A sentence for each model that answered in several versions during the test."""
    seen: defaultdict[str, set[str]] = defaultdict(set)
    for event in events:
        if event["event"] == "request" and event["outcome"] == Outcome.ANSWERED and event["model"]:
            tags, model = event["tags"], event["model"]
            version = tags.get("model_version") or tags.get("served_version")
            seen[model].add(f"{version or ''} {event['path'].get(model, '')}".strip())
    for model, versions in seen.items():
        if len(versions) > 1:
            yield (
                f"{model} answered in {len(versions)} versions ({', '.join(sorted(versions))}); "
                "start another record for the new one"
            )
