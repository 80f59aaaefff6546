"""The command `compare`: options, tables and files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from ab import options
from ab.attribution import Graph
from ab.compare.analysis import compare
from ab.compare.answers import ModelAnswers, ask_endpoints, read_answers
from ab.compare.show import as_json, show
from ab.data import read_reviews, shuffled
from ab.errors import AnalysisError
from ab.run.options import Options, Pace
from ab.stats.power import TestPlan
from roberta_sentiment.tools import labelled
from roberta_sentiment.tools.output import require_directories, write_file, write_json


def command(
    a: Annotated[str, typer.Argument(help="Endpoint or record of A, the model to beat.")],
    b: Annotated[str, typer.Argument(help="Endpoint or record of B.")],
    reviews: Annotated[
        Path | None,
        typer.Option(help="Reviews to send; for records without texts, where to find these."),
    ] = None,
    name_a: Annotated[str | None, typer.Option(help="Name of A, else from its answers.")] = None,
    name_b: Annotated[str | None, typer.Option(help="Name of B.")] = None,
    json_file: options.JsonFile = None,
    html_file: options.HtmlFile = None,
    header: options.Headers = None,
    labels: options.Labels = options.LABELS,
    text_column: labelled.TextColumnOption = "",
    label_column: labelled.LabelColumnOption = "",
    label_map: labelled.LabelMapOption = "",
    limit: options.Limit = None,
    seed: options.Seed = 13,
    concurrency: options.Concurrency = 4,
    timeout: options.Timeout = 10.0,
    tries: options.Tries = 4,
    margin: options.Margin = TestPlan.margin,
    alpha: options.Alpha = TestPlan.alpha,
    shown: Annotated[int, typer.Option(help="Disagreements on the screen.", min=0)] = 10,
) -> None:
    """Compare two models that both judge every text, from two endpoints or two records."""
    require_directories(json_file, html_file)
    names = options.parse_labels(labels)
    meant = labelled.read_label_map(label_map, names)
    columns: dict[str, Any] = {
        "text_column": text_column, "label_column": label_column, "label_map": meant,
    }  # fmt: skip
    read = read_reviews(reviews, names, **columns) if reviews else []
    found = shuffled(read, seed, limit)
    if "://" in a and "://" in b:
        if reviews is None or not found:
            raise AnalysisError("name the reviews to send with --reviews")
        given = Options(
            reviews=reviews,
            **columns,
            record=Path(),
            endpoint="",
            headers=header or (),
            graph=Graph(()),
            labels=names,
            pace=Pace(concurrency=concurrency),
            timeout_s=timeout,
            tries=tries,
            seed=seed,
            limit=limit,
        )
        models = _ask((a, b), (name_a, name_b), given, len(found))
    elif "://" in a or "://" in b:
        raise AnalysisError("give two endpoints or two records, not one of each")
    else:
        models = _named(read_answers(Path(a)), name_a), _named(read_answers(Path(b)), name_b)
    if models[0].name == models[1].name:  # two versions of one model: say where each comes from
        models = (
            _named(models[0], f"{models[0].name} ({a})"),
            _named(models[1], f"{models[1].name} ({b})"),
        )
    result = compare(*models, {review.id: review.text for review in found}, alpha, margin)
    if json_file:
        write_json(json_file, as_json(result))
    if html_file:
        from ab.compare.page import render

        write_file(html_file, render(result))
    show(result, Console(highlight=False, markup=False), shown)


def _ask(
    urls: tuple[str, str], names: tuple[str | None, str | None], given: Options, texts: int
) -> tuple[ModelAnswers, ModelAnswers]:
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("answers", total=2 * texts)
        return ask_endpoints(urls, names, given, lambda: bar.advance(task))


def _named(model: ModelAnswers, name: str | None) -> ModelAnswers:
    return dataclasses.replace(model, name=name or model.name)
