"""Guardrails: what B must keep, however accurate it is.

    p50, p90, p95, p99 <= 300ms    latency of its answers
    errors <= 1%                   first tries that fail
    truncated <= 5%                texts of which it sees a part
    calibration <= 0.05            how far its mean score lies from its accuracy
    accuracy >= 0.85, recall:LABEL >= 0.8
    errors <= A+0.5%, recall:LABEL >= A-2%    against A; for all but latency and calibration

Each is tested at every look, so that it is wrongly called broken, or kept, with the probability
that is left to guardrails only.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import re
from collections.abc import Sequence

import pandas as pd

from ab.observations import Observations
from ab.stats import sequential
from ab.stats.bounded import largest_log_e
from roberta_sentiment.errors import DataError

_FORM = re.compile(
    r"(?P<metric>p(?P<percent>50|90|95|99)|errors|truncated|calibration|accuracy|recall:(?P<label>.+?))"
    r"\s*(?P<sign><=|>=)\s*(?P<a>A)?\s*(?P<limit>[+-]?\d*\.?\d*)\s*(?P<unit>ms|s|%)?"
)
_UNITS = {"ms": 0.001, "s": 1.0, "%": 0.01, None: 1.0}
_WORDS = {
    "p": "{:.1%} of its answers take longer",
    "errors": "{:.1%} of its first tries fail",
    "truncated": "{:.1%} of its texts are truncated",
    "calibration": "its mean score is {:+.3f} off its accuracy",
    "accuracy": "it is wrong on {:.1%}",
    "recall": "it misses {:.1%}",
}


@dataclasses.dataclass(frozen=True)
class Guardrail:
    """A limit for B.

    Attributes:
        text: as given.
        metric: `p`, `errors`, `truncated`, `calibration`, `accuracy` or `recall`.
        label: of a recall.
        seconds: of a latency.
        allowed: share of bad answers that is allowed; against A, how much more than A's.
        relative: whether A is the measure.
    """

    text: str
    metric: str
    label: str | None
    seconds: float
    allowed: float
    relative: bool


class State(enum.StrEnum):
    """What is known of a guardrail."""

    KEPT = "kept"
    BROKEN = "broken"
    OPEN = "not decided"


@dataclasses.dataclass(frozen=True)
class Check:
    """A guardrail and what the record says about it.

    Attributes:
        text: the guardrail, as given.
        state: what is known.
        figure: of B, in words.
    """

    text: str
    state: State
    figure: str


def parse_guardrail(text: str, labels: Sequence[str]) -> Guardrail:
    """Read a guardrail.

    Raises:
        DataError: it is none, or its limit can't be one.
    """
    match = _FORM.fullmatch(text.strip())
    try:
        limit = float(match["limit"] or (0 if match["a"] else "")) * _UNITS[match["unit"]]  # type: ignore[index]
    except (TypeError, ValueError):
        raise DataError(
            f"{text!r} is not a guardrail; such are p99<=300ms, errors<=1%, truncated<=5%, "
            "calibration<=0.05, accuracy>=0.85, recall:LABEL>=0.8, errors<=A+0.5%"
        ) from None
    assert match is not None
    metric, relative = match["metric"].partition(":")[0], match["a"] is not None
    latency, at_least = match["percent"] is not None, metric in ("accuracy", "recall")
    if at_least != (match["sign"] == ">="):
        raise DataError(f"{text!r}: {metric} takes {'>=' if at_least else '<='}")
    if match["label"] and match["label"] not in labels:
        raise DataError(f"{text!r}: labels are {', '.join(labels)}")
    if latency != (match["unit"] in ("ms", "s")) or (
        relative and (latency or metric == "calibration")
    ):
        raise DataError(f"{text!r}: a latency takes ms or s, the others none or %; no latency or "
                        "calibration is compared with A")  # fmt: skip
    allowed = limit if not at_least else (-limit if relative else 1 - limit)
    if latency:
        allowed = 1 - int(match["percent"]) / 100
    if not -1 < allowed < 1 or (not relative and allowed < 0):
        raise DataError(f"{text!r}: the limit lies between 0 and 1")
    return Guardrail(text, "p" if latency else metric, match["label"], limit, allowed, relative)


def check_guardrails(
    guardrails: Sequence[Guardrail],
    seen: Observations,
    models: tuple[str, str],
    share_b: float,
    alpha: float,
) -> tuple[Check, ...]:
    """Test the guardrails of B.

    Args:
        guardrails: which.
        seen: the record.
        models: names of A and B.
        share_b: of the traffic of both.
        alpha: false alarm rate of all of them over all looks.
    """
    each = alpha / max(1, len(guardrails))
    checks = []
    for guardrail in guardrails:
        rows = _rows(guardrail, seen)
        rows = rows[rows.model.isin(models)].sort_values("sent", kind="stable")
        ours = rows[rows.model == models[1]]
        if ours.empty:
            checks.append(Check(guardrail.text, State.OPEN, "nothing is known yet"))
            continue
        if guardrail.relative:
            now = sequential.of_answers(rows, models[1], share_b, each, "bad").now
            broken, kept = now.low > guardrail.allowed, now.high <= guardrail.allowed
        else:
            broken, kept = _absolute(guardrail, ours, -math.log(each / 2))
        state = State.BROKEN if broken else State.KEPT if kept else State.OPEN
        figure = _WORDS[guardrail.metric].format(
            (ours.bad / ours.rate).sum() / (1 / ours.rate).sum()
        )
        checks.append(Check(guardrail.text, state, figure))
    return tuple(checks)


def _rows(guardrail: Guardrail, seen: Observations) -> pd.DataFrame:
    """What a guardrail is about: `model`, `sent`, `unit`, `rate`, and `bad`, which is 0 or 1; for
    the calibration -1 to 1."""
    answers = seen.answered.assign(bad=(~seen.answered.right).astype(float))
    judged = answers[answers.truth.notna()]
    match guardrail.metric:
        case "p":
            answers = answers[answers.latency_s.notna()]
            late = answers.latency_s.astype(float) > guardrail.seconds
            return answers.assign(bad=late.astype(float), rate=1.0)
        case "errors":
            failed = pd.DataFrame(
                [(f.model, f.sent, f.id.partition("#")[0], 1.0) for f in seen.failures],
                columns=["model", "sent", "unit", "bad"],
            )
            return pd.concat([answers.assign(bad=0.0), failed]).assign(rate=1.0)
        case "truncated":
            answers = answers[answers.truncated.notna()]
            return answers.assign(bad=answers.truncated.astype(float), rate=1.0)
        case "calibration":
            return judged.assign(bad=judged.score - judged.right)
        case "recall":
            return judged[judged.truth == guardrail.label]
    return judged


def _absolute(guardrail: Guardrail, rows: pd.DataFrame, needed: float) -> tuple[bool, bool]:
    """Whether the limit is shown to be broken, and to be kept."""
    signed = guardrail.metric == "calibration"  # -1..1, to 0..1; it must not be too low either
    limit = (1 + guardrail.allowed) / 2 if signed else guardrail.allowed
    sides = [(1 + rows.bad) / 2, (1 - rows.bad) / 2] if signed else [rows.bad]
    over, under = [], []
    for values in sides:
        # A rare choice counts for many: shrunk towards the limit, the mean stays on its side
        fair = limit + (values - limit) * rows.rate.min() / rows.rate
        means = fair.groupby(rows.unit, sort=False).mean()
        over.append(largest_log_e(means, limit) >= needed)
        under.append(largest_log_e(1 - means, 1 - limit) >= needed)
    return any(over), all(under)
