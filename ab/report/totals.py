"""What became of the requests: the rows of the table, and the sentences of warning."""

from __future__ import annotations

from ab.report.analysis import Analysis
from ab.report.text import Rows, counts

_BY_ID = (
    ("lost", "lost, without any answer", "got no answer and counts for no model"),
    (
        "retried",
        "answered at a later try only, left out",
        "was answered only after a failed try, perhaps by another model than the one that failed; "
        "the answer is left out",
    ),
    (
        "interrupted",
        "running when the run was killed, left out",
        "was running when the run was killed; its answer is left out",
    ),
    ("late", "late, counted once", "was answered after the time limit; it counts, once"),
    (
        "duplicated",
        "answered twice, counted once",
        "is recorded with more than one answer; the first one counts, once",
    ),
    (
        "repeated",
        "tried again, perhaps answered twice",
        "may have been answered more often than is recorded, because it was tried again; at most "
        "one answer counts",
    ),
    (
        "unattributed",
        "of an unknown model, counted for none",
        "was answered by an unknown model and counts for none",
    ),
    (
        "other_models",
        "of a model that is left out",
        "was answered by a model that this report leaves out",
    ),
    (
        "contradicted",
        "with two different truths, counted as without",
        "has two different truths and counts as without one",
    ),
    (
        "uncertain_feedback",
        "feedback that may or may not have been counted",
        "sent feedback that a model may or may not have counted",
    ),
)
"""Lists of ids in `RequestTotals`: field, row of the table, sentence about one review."""


def totals_rows(analysis: Analysis) -> Rows:
    """What became of every request."""
    totals = analysis.totals
    lost, *others = ((row, f"{len(getattr(totals, field)):,}") for field, row, _ in _BY_ID)
    return [
        ("requests", f"{totals.requests:,}"),
        ("answered at the first try", f"{totals.answered:,}"),
        ("first tries that failed, model unknown", counts(totals.unknown_errors)),
        lost,
        ("how the lost ones ended", counts(totals.errors)),
        *others,
        ("answers that wait for a truth", f"{totals.without_truth:,}"),
        ("reviews not sent yet", f"{totals.unsent:,}"),
        ("unreadable lines of the record", f"{totals.unreadable:,}"),
    ]


def warnings(analysis: Analysis) -> list[str]:
    """What a reader must know of the requests, one sentence each; nothing when all went well."""
    totals = analysis.totals
    found = [_of_ids(getattr(totals, field), text) for field, _, text in _BY_ID]
    found += [
        f"{model.name} failed on {sum(model.errors.values()):,} of its {tries:,} first tries "
        f"({counts(model.errors)}); its figures are those of the other texts."
        for model, tries in zip(analysis.models, analysis.split.observed, strict=True)
        if model.errors
    ]
    if totals.unknown_errors:
        found.append(
            f"{sum(totals.unknown_errors.values()):,} first tries failed "
            f"({counts(totals.unknown_errors)}) at a model that nothing names; its figures are "
            "those of the other texts."
        )
    if sampled := analysis.run.get("sampled"):
        parts = ", ".join(f"{rate:.3g} of {name}'s" for name, rate in sampled.items())
        stands = sum(m.tries / sampled.get(m.name, 1.0) for m in analysis.models)
        found.append(
            f"The log is a sample ({parts} requests) of about {stands:,.0f} first tries; the "
            "declared shares are those in the log."
        )
    if totals.unreadable:
        found.append(f"{totals.unreadable} lines of the record are cut short or damaged.")
    if totals.unsent:
        state = "Stopped early" if analysis.stopped else "Still running"
        found.append(f"{state}: {totals.unsent:,} reviews of the plan are not sent yet.")
    if totals.without_truth:
        found.append(f"{totals.without_truth:,} answers have no truth{_selection(analysis)}.")
    return [sentence for sentence in found if sentence]


def _selection(analysis: Analysis) -> str:
    """What a missing truth means for the figures."""
    if analysis.sampled_truths:
        return "; the others were sought at known rates, by which they are weighted"
    parts = ", ".join(f"{m.judged:,} of {m.answers:,} for {m.name}" for m in analysis.models)
    return (
        f" ({parts} have one), and nothing says how the others were chosen: if not at random, the "
        "figures hold for those only. `ab label` chooses so, with known rates"
    )


def _of_ids(ids: tuple[str, ...], sentence: str) -> str:
    """A sentence about one review or several; empty without any."""
    if len(ids) < 2:
        return f"Review {ids[0]} {sentence}." if ids else ""
    shown = ", ".join(ids[:3]) + (" ..." if len(ids) > 3 else "")
    return f"{len(ids)} reviews ({shown}), each: {sentence}."
