"""The false alarms of a whole verdict: accuracy, guardrails and segments, at every look."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ab.observations import Failure, Observations
from ab.report.guardrails import State, check_guardrails, parse_guardrail
from ab.report.segments import KNOWN, divide, find_segments, sentences
from ab.stats import sequential
from ab.stats.bounded import largest_log_e
from ab.stats.e_values import independent_gains, independent_kinds
from ab.stats.power import TestPlan
from ab.stats.sequential import follow
from tests.ab.records import LABELS

ANSWERS, EXPERIMENTS = 1500, 2000
MODELS = ("one", "two")
PLAN, SIDE_ALPHA = TestPlan(guardrails=("any",), segments=("any",)).divided(1)
LATENCY_S = float(np.exp(-2 + 0.5 * 2.3263478740408408))
"""The 99th percentile of the simulated latency: each limit is the true value, the hardest case."""
RULES = (
    f"p99<={LATENCY_S}s", "errors<=1%", "truncated<=5%", "truncated<=A", "recall:negative>=0.88",
    "recall:positive>=A", "accuracy>=0.88", "calibration<=0",
)  # fmt: skip


def experiment(rng: np.random.Generator) -> Observations:
    """Two copies of one model, right on 0.88 of the texts and as sure of it."""
    model = np.where(rng.random(ANSWERS) < 0.5, *MODELS)
    truth = np.where(rng.random(ANSWERS) < 0.5, *LABELS)
    right = rng.random(ANSWERS) < 0.88
    flags = {name: rng.random(ANSWERS) < 0.3 for name in ("digits", "marks", "symbols", "capitals")}
    lengths = rng.lognormal(5, 1.2, ANSWERS)
    features = [
        {"characters": int(length), **{name: int(on[i]) for name, on in flags.items()}}
        for i, length in enumerate(lengths)
    ]
    answered = pd.DataFrame(
        {
            "model": model, "truth": truth, "right": right, "score": 0.88, "rate": 1.0,
            "predicted": np.where(right, truth, np.where(truth == LABELS[0], *LABELS[::-1])),
            "unit": np.arange(ANSWERS).astype(str), "sent": np.arange(ANSWERS, dtype=float),
            "latency_s": rng.lognormal(-2, 0.5, ANSWERS), "truncated": rng.random(ANSWERS) < 0.05,
            "features": features, "request_tags": [{}] * ANSWERS,
        }
    )  # fmt: skip
    lost = int(rng.binomial(ANSWERS, 0.01 / 0.99))
    failures = tuple(
        Failure(f"lost {i}", str(rng.choice(MODELS)), "timeout", float(rng.random() * ANSWERS))
        for i in range(lost)
    )
    totals: Any = None
    return Observations({}, answered, failures, totals)


def log_e(answers: pd.DataFrame, column: str = "right") -> float:
    """Largest log e against "no difference" that the sequential test finds at any look."""
    kinds = independent_kinds(
        (answers.model == MODELS[1]).to_numpy(), answers[column].to_numpy(bool)
    )
    return float(follow(kinds, 4, independent_gains(0.5), np.zeros(1)).largest[-1, 0])


def alarms(seen: Observations) -> tuple[bool, bool, bool]:
    """Whether a winner, a broken guardrail, or a segment that differs is announced at some look.

    Without the grid of differences that the intervals need: two intervals that exclude each other,
    or one beyond A's, do not both hold "no difference", so this counts every alarm, or too many.
    """
    rows = seen.answered
    winner = log_e(rows) >= -math.log(PLAN.alpha)
    parts = [part for name in KNOWN for _, part in rows.groupby(divide(rows, name))]
    segment = max(map(log_e, parts)) >= -math.log(SIDE_ALPHA / 2 / len(parts))
    needed, two = -math.log(SIDE_ALPHA / len(RULES) / 2), rows[rows.model == MODELS[1]]
    failed = [(f.sent, 1.0) for f in seen.failures if f.model == MODELS[1]]
    tries = [bad for _, bad in sorted([*zip(two.sent, [0.0] * len(two), strict=True), *failed])]
    negative = two[two.truth == LABELS[0]]
    signed = (two.score - two.right + 1) / 2
    broken = max(
        largest_log_e(two.latency_s > LATENCY_S, 0.01),
        largest_log_e(tries, 0.01),
        largest_log_e(two.truncated, 0.05),
        largest_log_e(~negative.right, 0.12),
        largest_log_e(~two.right, 0.12),
        largest_log_e(signed, 0.5),
        largest_log_e(1 - signed, 0.5),
        log_e(rows, "truncated") - math.log(2),
        log_e(rows[rows.truth == LABELS[1]]) - math.log(2),
    )
    return winner, broken >= needed, segment


@pytest.mark.long
def test_a_whole_verdict_raises_few_false_alarms() -> None:
    """2,000 A/A tests with eight guardrails at their true values and 15 segments, looked at after
    every answer: at most 5 % announce anything."""
    found = np.array([alarms(experiment(np.random.default_rng(i))) for i in range(EXPERIMENTS)])
    assert found.any(axis=1).sum() <= 0.05 * EXPERIMENTS
    assert found.any()  # a simulation that can raise none would pass too


@pytest.mark.parametrize("seed", [0, 1])
def test_what_the_simulation_counts_is_what_the_report_says(seed: int) -> None:
    """It leaves out the intervals; on two experiments the report's own functions agree with it."""
    seen = experiment(np.random.default_rng(seed))
    rules = [parse_guardrail(text, LABELS) for text in RULES]
    checks = check_guardrails(rules, seen, MODELS, 0.5, SIDE_ALPHA)
    segments = find_segments(seen.answered, KNOWN, MODELS, 0.5, SIDE_ALPHA)
    told = [s for s in sentences(segments, *MODELS, "holm") if not s.startswith("Of ")]
    test = sequential.of_answers(seen.answered, MODELS[1], 0.5, PLAN.alpha)
    assert alarms(seen) == (
        test.decided_at is not None,
        any(check.state is State.BROKEN for check in checks),
        bool(told),
    )
