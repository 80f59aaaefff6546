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
from ab.record import read_record
from ab.report import rows
from ab.report.analysis import Analysis, Terms, analyse
from ab.report.document import as_json
from ab.report.verdict import judge, warnings


def command(
    record: Annotated[Path, typer.Argument(help="Record of `ab run`; it may still be growing.")],
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File for all figures as JSON.")
    ] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", help="File for a page with plots.")
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME or NAME=SHARE, the one to beat first; by default as the record declares."
        ),
    ] = None,
    margin: Annotated[
        float, typer.Option(help="Smallest difference in accuracy that matters.", min=0, max=0.5)
    ] = Terms.margin,
    alpha: Annotated[
        float, typer.Option(help="False alarm rate over all looks.", min=0.0001, max=0.5)
    ] = Terms.alpha,
    power: Annotated[
        float, typer.Option(help="Probability of a verdict to plan for.", min=0.5, max=0.99)
    ] = Terms.power,
) -> None:
    """Tell which model of a record is better, how sure that is, and what else matters."""
    require_directories(json_file, html_file)
    content = read_record(record)
    terms = Terms(margin, alpha, power)
    analysis = analyse(content, terms, parse_models(models or []))
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
    for name, values in rows.of_models(analysis):
        table.add_row(name, *values)
    console.print(table)
    for duel in analysis.duels:
        show_rows(console, rows.of_duel(duel, analysis.terms.margin))
    show_rows(console, rows.of_split(analysis))
    show_rows(console, rows.of_account(analysis))
    for warning in warnings(analysis):
        console.print(f"- {warning}")
    for duel in analysis.duels:
        verdict = judge(analysis, duel)
        console.print(f"\n{verdict.headline}", style="bold")
        for reason in verdict.reasons:
            console.print(reason)


def show_rows(console: Console, pairs: list[tuple[str, str]]) -> None:
    """Print names and texts as a table."""
    table = Table(show_header=False)
    for pair in pairs:
        table.add_row(*pair)
    console.print(table)
