"""The command: where the answers come from, and what is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from ab.compare.analysis import compare
from ab.compare.ask import Asking, of_endpoints
from ab.compare.show import as_json, show
from ab.compare.side import Side, of_record
from ab.data import Review, read_reviews, shuffled
from ab.errors import AnalysisError
from ab.report.analysis import Terms
from ab.report.cli import require_directories, write_file
from roberta_sentiment.tools.labelled import LabelColumnOption, TextColumnOption


def command(
    a: Annotated[str, typer.Argument(help="Endpoint or record of A, the model to beat.")],
    b: Annotated[str, typer.Argument(help="Endpoint or record of B.")],
    reviews: Annotated[
        Path | None,
        typer.Option(help="Reviews to send; for records without texts, where to find these."),
    ] = None,
    name_a: Annotated[str | None, typer.Option(help="Name of A; by default as it says.")] = None,
    name_b: Annotated[str | None, typer.Option(help="Name of B.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File for all figures and disagreements.")
    ] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", help="File for a page with plots and disagreements.")
    ] = None,
    labels: Annotated[str, typer.Option(help="Names of the classes.")] = "negative,positive",
    text_column: TextColumnOption = "",
    label_column: LabelColumnOption = "",
    limit: Annotated[int | None, typer.Option(help="Reviews at most.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Of the order of the reviews.")] = 13,
    concurrency: Annotated[int, typer.Option(help="Texts at once.", min=1, max=256)] = 4,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for an answer.", min=0.1)] = 10.0,
    tries: Annotated[int, typer.Option(help="Tries for one answer.", min=1, max=20)] = 4,
    margin: Annotated[
        float, typer.Option(help="Smallest difference in accuracy that matters.", min=0, max=0.5)
    ] = Terms.margin,
    alpha: Annotated[
        float, typer.Option(help="False alarm rate.", min=0.0001, max=0.5)
    ] = Terms.alpha,
    shown: Annotated[int, typer.Option(help="Disagreements on the screen.", min=0)] = 10,
) -> None:
    """Compare two models that both judge every text, from two endpoints or two records."""
    require_directories(json_file, html_file)
    names = tuple(each.strip() for each in labels.split(","))
    read = (
        read_reviews(reviews, names, text_column=text_column, label_column=label_column)
        if reviews
        else []
    )
    found = shuffled(read, seed, limit)
    if "://" in a and "://" in b:
        asking = Asking(names, timeout, tries, concurrency)
        sides = _ask((a, b), (name_a, name_b), found, asking)
    elif "://" in a or "://" in b:
        raise AnalysisError("give two endpoints or two records, not one of each")
    else:
        sides = _named(of_record(Path(a)), name_a), _named(of_record(Path(b)), name_b)
    sides = _apart(sides, (a, b))
    result = compare(*sides, {review.id: review.text for review in found}, alpha, margin)
    if json_file:
        write_file(json_file, json.dumps(as_json(result), indent=2, allow_nan=False) + "\n")
    if html_file:
        from ab.compare.page import render

        write_file(html_file, render(result))
    show(result, Console(highlight=False, markup=False), shown)


def _ask(
    urls: tuple[str, str],
    names: tuple[str | None, str | None],
    reviews: list[Review],
    asking: Asking,
) -> tuple[Side, Side]:
    if not reviews:
        raise AnalysisError("name the reviews to send with --reviews")
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("texts", total=len(reviews))
        return of_endpoints(urls, names, reviews, asking, lambda: bar.advance(task))


def _apart(sides: tuple[Side, Side], origins: tuple[str, str]) -> tuple[Side, Side]:
    """Two versions of one model often bear one name: then say where each comes from."""
    first, second = sides
    if first.name != second.name:
        return sides
    return (
        _named(first, f"{first.name} ({origins[0]})"),
        _named(second, f"{second.name} ({origins[1]})"),
    )


def _named(side: Side, name: str | None) -> Side:
    return Side(name or side.name, side.said, side.lost)
