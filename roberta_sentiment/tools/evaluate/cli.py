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
from roberta_sentiment.tools.labelled import (
    LabelColumnOption,
    LabelMapOption,
    TextColumnOption,
    read_label_map,
)
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
from roberta_sentiment.tools.page.text import p_value, percent

if TYPE_CHECKING:
    from roberta_sentiment.tools.evaluate.run import Evaluation, Flip, Mistake, Result

SHOWN_TEXTS = 5
"""Texts of each kind on the screen; the files have more."""


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
    label_map: LabelMapOption = "",
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
    artifact = open_artifact(*locate(str(model or "")))
    evaluation = evaluate(
        data,
        artifact,
        settings,
        other=open_artifact(compare) if compare else None,
        limit=limit,
        numbered=[name.strip() for name in labels.split(",")] if labels else [],
        text_column=text_column,
        label_column=label_column,
        label_map=read_label_map(label_map, artifact.labels),
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
    from roberta_sentiment.tools.evaluate.report import figures, findings

    console = Console(highlight=False)
    models = [m for m in (evaluation.model, evaluation.other) if m]
    for remark in evaluation.remarks:
        console.print(printable(remark), style="yellow", markup=False, soft_wrap=True)
    table = Table("", *(escape(printable(f"{m.name} ({m.precision})")) for m in models))
    for name, values in figures(models):
        table.add_row(name, *values)
    console.print(table)
    console.print(_confusion(evaluation.model))
    _list(console, "wrong, surest first", [_mistake(m) for m in evaluation.mistakes])
    if evaluation.comparison:
        _list(console, "texts with another label", [_flip(flip) for flip in evaluation.flips])
        p = p_value(evaluation.comparison.p_value)
        console.print(f"McNemar's exact test: p = {p}", markup=False)
    for sentence in findings(evaluation):
        console.print(printable(sentence), style="bold", markup=False)


def _confusion(model: Result) -> Table:
    labels = [printable(label) for label in model.labels]
    table = Table("true \\ predicted", *map(escape, labels), "precision", "recall", "F1")
    for label, counts, each in zip(
        labels, model.quality.confusion, model.quality.classes, strict=True
    ):
        rates = (percent(rate) for rate in (each.precision, each.recall, each.f1))
        table.add_row(Text(label), *map(str, counts), *rates)
    return table


def _list(console: Console, title: str, lines: Sequence[str]) -> None:
    """The first lines, each cut to the width of the screen."""
    console.print(f"{len(lines):,} {title}" + (":" if lines else ""), markup=False)
    for line in lines[:SHOWN_TEXTS]:
        console.print(printable(f"  {line}"), markup=False, overflow="ellipsis", no_wrap=True)


def _mistake(m: Mistake) -> str:
    return f"text {m.number} ({m.truth}): {m.label} {percent(m.score)}: {m.text}"


def _flip(flip: Flip) -> str:
    return (
        f"text {flip.number} ({flip.truth}): {flip.label} {percent(flip.score)}, "
        f"{flip.other_label} {percent(flip.other_score)}: {flip.text}"
    )
