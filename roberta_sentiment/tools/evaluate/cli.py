"""The command: options, a table, and the files that are written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table
from rich.text import Text

from roberta_sentiment.model.artifact import locate, open_artifact
from roberta_sentiment.text.check import printable
from roberta_sentiment.tools.extras import need
from roberta_sentiment.tools.labelled import LabelColumnOption, TextColumnOption
from roberta_sentiment.tools.options import (
    HeadOption,
    MaxTokensOption,
    ModelOption,
    ThreadsOption,
    TruncationOption,
    WindowOverlapOption,
    read_settings,
)
from roberta_sentiment.tools.output import require_directories, write_file, write_json

if TYPE_CHECKING:
    from roberta_sentiment.tools.evaluate.run import Evaluation, Flip, Result
    from roberta_sentiment.tools.metrics import Comparison

SHOWN_FLIPS = 5
"""Flipped texts on the screen; the files have more."""


def command(
    data: Annotated[Path, typer.Argument(help="Labelled texts: .tsv, .csv or .jsonl.")],
    model: ModelOption = None,
    compare: Annotated[
        Path | None, typer.Option(help="Directory of a second model, for McNemar's exact test.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File for all figures as JSON.")
    ] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", help="File for a report with a picture.")
    ] = None,
    truncation: TruncationOption = "end",
    head: HeadOption = "auto",
    max_tokens: MaxTokensOption = 0,
    window_overlap: WindowOverlapOption = 128,
    threads: ThreadsOption = 0,
    limit: Annotated[int, typer.Option(help="Texts to read; 0: all.", min=0)] = 0,
    labels: Annotated[
        str,
        typer.Option(
            help="Classes that the numbers 0, 1, ... of the file stand for, such as "
            "negative,positive; by default those of the model in its order."
        ),
    ] = "",
    text_column: TextColumnOption = "",
    label_column: LabelColumnOption = "",
    latency_texts: Annotated[
        int, typer.Option(help="Texts that are timed alone, spread over the file.", min=1)
    ] = 500,
) -> None:
    """Judge a model by labelled texts, and compare it with a second one."""
    from roberta_sentiment.tools.evaluate.report import render
    from roberta_sentiment.tools.evaluate.run import evaluate

    require_directories(json_file, html_file)
    for module in ("matplotlib.figure", "jinja2") if html_file else ():
        need(module)
    settings = read_settings(truncation, head, max_tokens, window_overlap, threads)
    evaluation = evaluate(
        data,
        open_artifact(*locate(str(model or ""))),
        settings,
        other=open_artifact(compare) if compare else None,
        limit=limit,
        numbered=[name.strip() for name in labels.split(",")] if labels else [],
        text_column=text_column,
        label_column=label_column,
        latency_texts=latency_texts,
        track=_track,
    )
    if json_file:
        write_json(json_file, evaluation.as_json())
    if html_file:
        write_file(html_file, render(evaluation))
    _show(evaluation)


def _track(positions: Sequence[int], name: str) -> Iterable[int]:
    return track(positions, name, console=Console(stderr=True), transient=True)


def _show(evaluation: Evaluation) -> None:
    from roberta_sentiment.tools.evaluate.report import figures

    console = Console(highlight=False)
    models = [m for m in (evaluation.model, evaluation.other) if m]
    for remark in evaluation.remarks:
        console.print(printable(remark), style="yellow", markup=False, soft_wrap=True)
    table = Table("", *(escape(printable(f"{m.name} ({m.precision})")) for m in models))
    for name, values in figures(models):
        table.add_row(name, *values)
    console.print(table)
    console.print(_confusion(evaluation.model))
    if evaluation.comparison:
        _show_comparison(console, evaluation.comparison, evaluation.flips, models)


def _confusion(model: Result) -> Table:
    labels = [printable(label) for label in model.labels]
    table = Table("true \\ predicted", *map(escape, labels), "precision", "recall", "F1")
    for label, counts, each in zip(
        labels, model.quality.confusion, model.quality.classes, strict=True
    ):
        rates = (f"{rate:.4f}" for rate in (each.precision, each.recall, each.f1))
        table.add_row(Text(label), *map(str, counts), *rates)
    return table


def _show_comparison(
    console: Console, compared: Comparison, flips: Sequence[Flip], models: Sequence[Result]
) -> None:
    console.print(
        f"{len(compared.flips)} texts have another label; only {models[0].name} is right: "
        f"{compared.only_first}, only {models[1].name}: {compared.only_second}; McNemar's "
        f"exact test: p = {compared.p_value:.3g}",
        markup=False,
    )
    for flip in flips[:SHOWN_FLIPS]:
        console.print(
            printable(
                f"  text {flip.number} ({flip.truth}): {flip.label} {flip.score:.3f}, "
                f"{flip.other_label} {flip.other_score:.3f}: {flip.text}"
            ),
            markup=False,
            overflow="ellipsis",
            no_wrap=True,
        )
