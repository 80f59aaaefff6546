"""`ab plan`: texts and days before the start."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy import stats

from ab.errors import USAGE
from ab.stats.paired import fixed_pairs
from ab.stats.power import TestPlan, plan_independent, plan_paired
from ab.stats.sequential import independent
from tests.ab.running import run_ab


def test_the_plan_is_what_the_test_takes() -> None:
    """Of 60 simulated tests about half have stopped by then, and about four fifths by the other."""
    half, most = plan_independent(0.8, 0.9, 0.5, TestPlan(0.1))
    assert half
    assert most
    rng, stops = np.random.default_rng(1), []
    for _ in range(60):
        from_b = rng.random(most) < 0.5
        right = rng.random(most) < np.where(from_b, 0.9, 0.8)
        test = independent(from_b.tolist(), right.tolist(), 0.5)
        stops.append(test.decided_at or most + 1)
    assert 0.5 == pytest.approx(np.mean(np.array(stops) <= half), abs=0.2)
    assert 0.8 == pytest.approx(np.mean(np.array(stops) <= most), abs=0.15)


def test_a_fixed_number_of_pairs_has_the_stated_power() -> None:
    """McNemar's test on that many simulated pairs finds the difference in 80 %."""
    n = round(fixed_pairs(0.15, 0.03))
    found = np.random.default_rng(2).multinomial(n, [0.06, 0.09, 0.85], size=4000)
    z = (found[:, 1] - found[:, 0]) / np.sqrt(found[:, 0] + found[:, 1])
    assert 0.8 == pytest.approx(np.mean(z > stats.norm.isf(0.025)), abs=0.02)


def test_pairs_take_fewer_texts_and_disagreements_fewer_truths() -> None:
    """The reason to ask both models, and to label where they differ."""
    assert (plan_paired(0.04, 0.06, TestPlan(0.02))[1] or 0) < (
        plan_independent(0.9, 0.92, 0.5, TestPlan(0.02))[1] or 0
    )


def test_the_command_tells_texts_and_days() -> None:
    """A tenth of 1,000 texts a day gets a truth: days are bound by truths, or else by texts."""
    told = run_ab(
        "plan", "--accuracy", "0.8", "--margin", "0.05", "--labelled", "0.1", "--disagree", "0.1"
    )
    assert 0 == told.code, told.err
    rows = {
        name: [int(n.replace(",", "")) for n in re.findall(r"[\d,]*\d", rest)]
        for name, rest in re.findall(
            r"│ ((?:split|both|dis)[^│]*?) +│([^│]*│[^│]*│[^│]*│[^│]*)│", told.out
        )
    }
    n, truths, days = rows["split, one look"]
    assert n == truths == pytest.approx(1812, abs=3)
    assert -(-n // 100) == days
    texts, truths, days = rows["both models, any look"][1:]
    assert (texts, -(-texts // 100)) == (truths, days)
    fewer = rows["disagreements judged"][1:]
    assert (texts, -(-texts // 1000)) == (fewer[0], fewer[2])
    assert fewer[1] == pytest.approx(texts / 10, abs=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--accuracy", "0.9", "--margin", "0.2"], "must stay below 1"),
        (["--accuracy", "0.9", "--disagree", "0.5"], "disagree on 0.02 to 0.18 of the texts"),
    ],
)
def test_what_can_t_be_is_refused(options: list[str], message: str) -> None:
    """A plan for models that can't exist."""
    told = run_ab("plan", *options)
    assert (USAGE, True) == (told.code, message in told.err)
