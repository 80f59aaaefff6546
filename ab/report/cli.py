"""The command: options, tables, and the files that are written."""

from __future__ import annotations

import json
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
from ab.report.totals import totals_rows, warnings
from ab.report.verdict import judge
from ab.stats.power import TestPlan


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
) -> None:
    """Tell which model of a record is better, how sure that is, and what else matters."""
    require_directories(json_file, html_file)
    content = read_record(record)
    analysis = analyse(content, TestPlan(margin, alpha, power), parse_models(models or []))
    origin = {"name": record.name, "sha256": file_fingerprint(record)}
    if json_file:
        text = json.dumps(as_json(analysis, origin), indent=2, allow_nan=False) + "\n"
        write_file(json_file, text)
    if html_file:
        from ab.report.page import render

        write_file(html_file, render(analysis, origin))
    show(analysis, Console(highlight=False, markup=False))


def require_directories(*files: Path | None) -> None:
    """Make sure, before any work, that files can be written.

    Raises:
        AnalysisError: the directory of one does not exist.
    """
    for file in files:
        if file and not file.parent.is_dir():
            raise AnalysisError(f"the directory of {file} does not exist")


def write_file(path: Path, content: str) -> None:
    """Write a file whole or not at all.

    Raises:
        AnalysisError: it can't be written.
    """
    scratch = path.with_name(f".{path.name}.new")
    try:
        scratch.write_text(content, encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        raise AnalysisError(f"{path} can't be written: {error.strerror}") from error


def show(analysis: Analysis, console: Console) -> None:
    """Print the report."""
    table = Table("", *(model.name for model in analysis.models))
    for name, values in rows.model_rows(analysis):
        table.add_row(name, *values)
    console.print(table)
    for comparison in analysis.comparisons:
        show_rows(console, rows.comparison_rows(comparison, analysis.plan.margin))
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
