"""The command `plan`: how many texts and days a test takes, before it starts."""

from __future__ import annotations

import math
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ab.errors import AnalysisError
from ab.options import Alpha
from ab.stats.paired import fixed_pairs
from ab.stats.power import TestPlan, plan_independent, plan_paired
from ab.stats.proportions import fixed_sample_size


def command(
    accuracy: Annotated[float, typer.Option(min=0.01, max=0.99, help="Of the present model.")],
    margin: Annotated[float, typer.Option(min=0.0005, max=0.5, help="Lead to find.")] = 0.02,
    share: Annotated[float, typer.Option(min=0.01, max=0.99, help="Traffic of the new one.")] = 0.5,
    per_day: Annotated[float, typer.Option(min=0.001, help="Texts a day.")] = 1000.0,
    labelled: Annotated[
        float, typer.Option(min=0.0001, max=1, help="Part of them whose truth gets known.")
    ] = 1.0,
    disagree: Annotated[
        float | None,
        typer.Option(
            min=0.0001,
            max=1,
            help="Part of the texts on which the models disagree; by default as if they erred "
            "independently, which is the most that is likely.",
        ),
    ] = None,
    alpha: Alpha = TestPlan.alpha,
    power: Annotated[
        float, typer.Option(min=0.5, max=0.99, help="Probability to find it.")
    ] = TestPlan.power,
) -> None:
    """Say how many texts and days it takes to find a difference, by design.

    The tests that may be looked at every day are simulated (200 times).
    """
    better = accuracy + margin
    if better >= 1:
        raise AnalysisError(f"{accuracy} + {margin} is not an accuracy; it must stay below 1")
    apart = disagree or accuracy * (1 - better) + better * (1 - accuracy)
    if not margin <= apart <= 2 - accuracy - better:
        raise AnalysisError(
            f"models of accuracy {accuracy} and {better:g} disagree on {margin:g} to "
            f"{2 - accuracy - better:g} of the texts; --disagree is {apart:g}"
        )
    plan = TestPlan(margin, alpha, power)
    both = plan_paired((apart - margin) / 2, (apart + margin) / 2, plan)
    rows = [
        ("split, any look", *plan_independent(accuracy, better, share, plan), 1.0),
        ("split, one look", None, fixed_sample_size(accuracy, margin, share, power, alpha), 1.0),
        ("both models, any look", *both, 1.0),
        ("both models, one look", None, fixed_pairs(apart, margin, power, alpha), 1.0),
        ("disagreements judged", *both, apart),
    ]
    most = f"{power:.0%}"
    table = Table("design", "texts, median", f"texts, {most}", f"truths, {most}", f"days, {most}")
    for name, median, n, part in rows:
        truths = None if n is None else n * part
        days = None if n is None else max(n, n * part / labelled) / per_day
        table.add_row(name, *(_up(each) for each in (median, n, truths, days)))
    console = Console(highlight=False, markup=False)
    console.print(
        f"accuracies {accuracy:g} and {better:g}, disagreeing on {apart:.1%} of the texts"
    )
    console.print(table)


def _up(value: float | None) -> str:
    return "-" if value is None else f"{math.ceil(value):,}"
