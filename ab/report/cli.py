"""The command `report`: options, tables and files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ab.attribution import parse_models
from ab.data import file_fingerprint
from ab.errors import ABError
from ab.options import Alpha, HtmlFile, JsonFile, Margin
from ab.record import read_record
from ab.report import rows
from ab.report.analysis import Analysis, analyse
from ab.report.document import as_json
from ab.report.gate import CODES, code_of_error, decide
from ab.report.totals import totals_rows, warnings
from ab.report.verdict import judge
from ab.stats.power import TestPlan
from roberta_sentiment.tools.output import require_directories, write_file, write_json


def command(
    record: Annotated[Path, typer.Argument(help="Record of `ab run`; it may still be growing.")],
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME or NAME=SHARE, the one to beat first; by default as the record declares."
        ),
    ] = None,
    margin: Margin = TestPlan.margin,
    alpha: Alpha = TestPlan.alpha,
    power: Annotated[
        float, typer.Option(help="Probability of a verdict to plan for.", min=0.5, max=0.99)
    ] = TestPlan.power,
    gate: Annotated[
        bool,
        typer.Option(
            "--gate",
            help="End with 0: the later models may go on (better, or not worse by the margin); 1: "
            "one is worse, or breaks a guardrail; 2: wrong usage; 3: undecided yet; 4: no verdict "
            "is possible (split, versions, errors).",
        ),
    ] = False,
    max_lost: Annotated[
        float, typer.Option(help="With --gate: requests that may get no answer.", min=0, max=1)
    ] = 0.05,
) -> None:
    """Show which model of a record is better, how certain that is, and what else matters."""
    require_directories(json_file, html_file)
    console = Console(highlight=False, markup=False)
    try:
        content = read_record(record)
        analysis = analyse(content, TestPlan(margin, alpha, power), parse_models(models or []))
    except ABError as error:
        if not gate:
            raise
        console.print(f"error: {error}")
        sys.exit(code_of_error(record, error))
    origin = {"name": record.name, "sha256": file_fingerprint(record)}
    if json_file:
        write_json(json_file, as_json(analysis, origin))
    if html_file:
        from ab.report.page import render

        write_file(html_file, render(analysis, origin))
    show(analysis, console)
    if gate:
        decision, sentences = decide(analysis, content.events, max_lost)
        console.print(f"\ngate: exit code {CODES[decision]}; {'; '.join(sentences)}")
        sys.exit(CODES[decision])


def show(analysis: Analysis, console: Console) -> None:
    """Print the report."""
    table = Table("", *(model.name for model in analysis.models))
    for name, values in rows.model_rows(analysis):
        table.add_row(name, *values)
    console.print(table)
    for comparison in analysis.comparisons:
        verdict = judge(analysis, comparison)
        show_rows(console, rows.comparison_rows(comparison, analysis.plan.margin, verdict))
    show_rows(console, rows.split_rows(analysis))
    show_rows(console, totals_rows(analysis))
    for warning in warnings(analysis):
        console.print(f"- {warning}")
    for comparison in analysis.comparisons:
        verdict = judge(analysis, comparison)
        console.print(f"\n{verdict.headline}", style="bold")
        for reason in verdict.reasons:
            console.print(reason)


def show_rows(console: Console, pairs: list[tuple[str, str]]) -> None:
    """Print names and texts as a table."""
    table = Table(show_header=False)
    for pair in pairs:
        table.add_row(*pair)
    console.print(table)
