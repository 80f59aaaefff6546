"""The verdict in plain language, and what a reader must know before believing it."""

from __future__ import annotations

import dataclasses
import enum

from ab.report.analysis import Analysis, Duel, Terms
from ab.report.rows import counts
from ab.stats.sequential import Look
from ab.stats.split import ALARM, check_split


class Finding(enum.StrEnum):
    """What can come out of a duel."""

    B_WINS = "b_wins"
    A_WINS = "a_wins"
    EQUIVALENT = "equivalent"
    OPEN = "open"
    INVALID = "invalid"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The outcome of a duel.

    Attributes:
        finding: what came out.
        headline: one sentence.
        reasons: the sentences behind it.
    """

    finding: Finding
    headline: str
    reasons: tuple[str, ...]


def judge(analysis: Analysis, duel: Duel) -> Verdict:
    """Decide a duel by its sequential test, unless the data can't bear any verdict."""
    flaw = _flaw(analysis, duel)
    if flaw:
        return Verdict(Finding.INVALID, f"No verdict on {duel.b} and {duel.a}.", (flaw,))
    finding = _finding(duel, analysis.terms)
    return Verdict(finding, _headline(finding, duel, analysis.terms), _reasons(finding, duel))


def warnings(analysis: Analysis) -> list[str]:
    """What happened to requests on the way, one sentence each; nothing when all went well."""
    account = analysis.account
    said = {
        "got no answer and counts for no model": account.lost,
        "was answered only after a failed try, perhaps by another model than the one that failed; "
        "the answer is left out": account.retried,
        "was on its way when the run was killed; what came of it is left out": account.interrupted,
        "was answered after the time limit; it counts, once": account.late,
        "is recorded with more than one answer; the first one counts, once": account.duplicated,
        "may have been answered more often than is recorded, because it was tried again; at most "
        "one answer counts": account.repeated,
        "was answered by nobody knows which model and counts for none": account.unattributed,
        "was answered by a model that this report leaves out": account.other_models,
        "has two different truths and counts as without one": account.contradicted,
        "sent feedback that a model may or may not have counted": account.uncertain_feedback,
    }
    found = [_of_ids(ids, sentence) for sentence, ids in said.items() if ids]
    found += [
        f"{model.name} failed on {sum(model.errors.values()):,} of its {tries:,} first tries "
        f"({counts(model.errors)}); its figures are those of the other texts."
        for model, tries in zip(analysis.models, analysis.split.observed, strict=True)
        if model.errors
    ]
    if account.unknown_errors:
        found.append(
            f"{sum(account.unknown_errors.values()):,} first tries failed "
            f"({counts(account.unknown_errors)}), and nothing tells of which model they were; its "
            "figures are those of the other texts."
        )
    if account.unreadable:
        found.append(f"{account.unreadable} lines of the record are cut short or damaged.")
    if account.unsent:
        found.append(f"{account.unsent:,} reviews of the plan are not sent yet.")
    if account.without_truth:
        found.append(f"{account.without_truth:,} answers have no truth yet.")
    return found


def _of_ids(ids: tuple[str, ...], sentence: str) -> str:
    if len(ids) == 1:
        return f"Review {ids[0]} {sentence}."
    shown = ", ".join(ids[:3]) + (" ..." if len(ids) > 3 else "")
    return f"{len(ids)} reviews ({shown}), each: {sentence}."


def _flaw(analysis: Analysis, duel: Duel) -> str | None:
    """Why no verdict may be drawn; None when one may."""
    split = analysis.split
    if split.mismatch and split.p_value is not None:
        told = ", ".join(
            f"{model.name} {observed:,} instead of {expected:,.0f}"
            for model, observed, expected in zip(
                analysis.models, split.observed, _expected(analysis), strict=True
            )
        )
        return (
            f"The first tries are not split as declared ({told}; p = {split.p_value:.1g}, alarm "
            f"below {ALARM}).{_explained(analysis)} Requests fail or are routed otherwise for one "
            "of the models, so that they did not get the same kind of texts. Fix this and restart, "
            "or state the true shares with --models."
        )
    if analysis.kept.mismatch:
        told = ", ".join(f"{m.name} on {sum(m.errors.values()):,}" for m in analysis.models)
        return (
            f"One model fails far more often ({told} first tries; p = {analysis.kept.p_value:.1g}, "
            f"alarm below {ALARM}), so that what is left are not the same kind of texts. Fix this "
            "and restart."
        )
    unjudged = [m.name for m in analysis.models if m.name in (duel.a, duel.b) and not m.judged]
    if unjudged:
        return f"No answer of {' and none of '.join(unjudged)} has a truth."
    if duel.sequential.contradicts:
        return (
            "No single difference fits the whole test: it changed on the way. Was a model "
            "replaced, or did the texts change?"
        )
    return None


def _explained(analysis: Analysis) -> str:
    """The model whose share fits if all failed tries without a known model were its own."""
    split, unknown = analysis.split, sum(analysis.account.unknown_errors.values())
    for i, model in enumerate(analysis.models):
        tries = [seen + unknown * (i == j) for j, seen in enumerate(split.observed)]
        if unknown and not check_split(tries, split.declared).mismatch:
            return (
                f" {unknown:,} more failed, and nothing tells of which model they were: were all "
                f"of {model.name}, the split would fit."
            )
    return ""


def _expected(analysis: Analysis) -> list[float]:
    return [share * sum(analysis.split.observed) for share in analysis.split.declared]


def _finding(duel: Duel, terms: Terms) -> Finding:
    look = duel.sequential.now
    if duel.sequential.decided_at is not None and duel.difference.value:
        return Finding.B_WINS if duel.difference.value > 0 else Finding.A_WINS
    if -terms.margin < look.low and look.high < terms.margin:
        return Finding.EQUIVALENT
    return Finding.OPEN


def _headline(finding: Finding, duel: Duel, terms: Terms) -> str:
    a, b, look = duel.a, duel.b, duel.sequential.now
    if finding is Finding.EQUIVALENT:
        return f"{b} and {a} are equally good, within {_points(terms.margin)}."
    if finding is Finding.OPEN:
        return f"Not decided yet whether {b} or {a} is better. {_needed(duel)}"
    winner, loser = (b, a) if finding is Finding.B_WINS else (a, b)
    least, most = _sizes(finding, look)
    if least > terms.margin:
        enough = f"more than the {_points(terms.margin)} that matter"
    elif most <= terms.margin:
        enough = f"but by less than the {_points(terms.margin)} that matter"
    else:
        enough = f"perhaps by less than the {_points(terms.margin)} that matter"
    return f"{winner} beats {loser}, by {100 * least:.1f} to {_points(most)}: {enough}."


def _sizes(finding: Finding, look: Look) -> tuple[float, float]:
    """Smallest and largest lead of the winner that fit the data."""
    if finding is Finding.B_WINS:
        return max(0.0, look.low), look.high
    return max(0.0, -look.high), -look.low


def _needed(duel: Duel) -> str:
    if duel.needed is None:
        return "At this rate it may never be: they are too much alike for this margin."
    return f"About {duel.needed:,} more answers with a truth are likely to decide it."


def _reasons(finding: Finding, duel: Duel) -> tuple[str, ...]:
    test, value = duel.sequential, duel.difference.value or 0.0
    low, high = (f"{100 * end:+.1f}" for end in (test.now.low, test.now.high))
    seen = (
        f"So far {duel.b} is right {_points(abs(value))} {'more' if value >= 0 else 'less'} often "
        f"than {duel.a}."
    )
    bounds = (
        f"With {100 * (1 - test.alpha):.3g} % confidence, however often one looks, the accuracy of "
        f"{duel.b} minus that of {duel.a} lies between {low} and {high} percentage points."
    )
    if finding in (Finding.A_WINS, Finding.B_WINS):
        return seen, bounds, f"The test was decided after {test.decided_at:,} answers."
    return seen, bounds


def _points(value: float) -> str:
    return f"{100 * value:.1f} percentage points"
