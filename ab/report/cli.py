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
from ab.errors import AnalysisError
from ab.options import Alpha, HtmlFile, JsonFile, Margin
from ab.record import read_record
from ab.report import rows
from ab.report.analysis import Analysis, analyse
from ab.report.document import as_json
from ab.report.gate import CODES, code_without_figures, decide
from ab.report.segments import CORRECTIONS, KNOWN
from ab.report.text import show_rows
from ab.report.totals import totals_rows, warnings
from ab.report.verdict import judge
from ab.stats.power import TestPlan
from roberta_sentiment.errors import DataError
from roberta_sentiment.tools.output import require_directories, write_file, write_json


def command(
    record: Annotated[Path, typer.Argument(help="Record of `ab run`; it may still be growing.")],
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
    models: Annotated[
        list[str] | None,
        typer.Option(help="NAME or NAME=SHARE, the one to beat first; else the record's."),
    ] = None,
    margin: Margin = TestPlan.margin,
    alpha: Alpha = TestPlan.alpha,
    guardrails: Annotated[
        list[str] | None,
        typer.Option(
            "--guardrail",
            help="What the later model must keep: p99<=300ms, errors<=1%, truncated<=5%, "
            "calibration<=0.05, recall:LABEL>=0.8, errors<=A+0.5%.",
        ),
    ] = None,
    segments: Annotated[
        list[str] | None,
        typer.Option(
            "--segment",
            help=f"Divide the texts by {', '.join(KNOWN)}, or a tag of the requests; `all`: by all "
            "of these.",
        ),
    ] = None,
    correction: Annotated[
        str, typer.Option(help="For the number of segments: holm, or fdr_bh.")
    ] = TestPlan.correction,
    unit: Annotated[
        str, typer.Option(help="Tag of the requests that names what meets one model, as a user.")
    ] = "",
    twins: Annotated[
        bool, typer.Option("--aa", help="An A/A test: both are one model; check the set-up.")
    ] = False,
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
    if correction not in CORRECTIONS:
        raise DataError(f"--correction is {correction!r}; it is one of {', '.join(CORRECTIONS)}")
    divided = KNOWN if "all" in (segments or []) else tuple(segments or [])
    plan = TestPlan(margin, alpha, power, tuple(guardrails or []), divided, correction, unit, twins)
    console = Console(highlight=False, markup=False)
    content = read_record(record)
    try:
        analysis = analyse(content, plan, parse_models(models or []))
    except AnalysisError as error:
        if not gate:
            raise
        console.print(f"error: {error}")
        sys.exit(code_without_figures(content))
    origin = {"name": record.name, "sha256": file_fingerprint(record)}
    if json_file:
        write_json(json_file, as_json(analysis, origin))
    if html_file:
        from ab.report.page import render

        write_file(html_file, render(analysis, origin))
    show(analysis, console)
    if gate:
        decision, sentences = decide(analysis, max_lost)
        console.print(f"\ngate: exit code {CODES[decision]}; {'; '.join(sentences)}")
        sys.exit(CODES[decision])


def show(analysis: Analysis, console: Console) -> None:
    """Print the report."""
    table = Table("", *(model.name for model in analysis.models))
    for name, values in rows.model_rows(analysis):
        table.add_row(name, *values)
    console.print(table)
    verdicts = [judge(analysis, comparison) for comparison in analysis.comparisons]
    for comparison, verdict in zip(analysis.comparisons, verdicts, strict=True):
        show_rows(console, rows.comparison_rows(comparison, analysis.plan.margin, verdict))
    show_rows(console, rows.split_rows(analysis))
    show_rows(console, totals_rows(analysis))
    for warning in warnings(analysis):
        console.print(f"- {warning}")
    for verdict in verdicts:
        console.print(f"\n{verdict.headline}", style="bold")
        for reason in verdict.reasons:
            console.print(reason)
