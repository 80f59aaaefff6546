"""The command: options, a progress bar, and what is said at the end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from roberta_sentiment.model.artifact import locate, open_artifact
from roberta_sentiment.settings import HeadSetting, Settings, Truncation
from roberta_sentiment.tools.labelled import TextColumnOption

if TYPE_CHECKING:
    from roberta_sentiment.tools.score.run import Progress as Told

SHOWN = 5
"""Rows put aside that are named on the screen; the file has them all."""


def command(
    data: Annotated[
        Path, typer.Argument(help="Texts: .csv, .tsv, .jsonl or .txt (one text a line).")
    ],
    output: Annotated[
        Path,
        typer.Argument(
            help="Ends in .csv or .jsonl; rows that can't be scored go to <output>.rejected.jsonl."
        ),
    ],
    model: Annotated[
        Path | None, typer.Option(help="Model directory; by default the embedded model.")
    ] = None,
    text_column: TextColumnOption = "",
    prefix: Annotated[
        str, typer.Option(help="Put before the names of the added columns (label, score, ...).")
    ] = "",
    truncation: Annotated[
        str, typer.Option(help=f"One of {', '.join(get_args(Truncation))}.")
    ] = "end",
    head: Annotated[
        str, typer.Option(help=f"How outputs become scores: {', '.join(get_args(HeadSetting))}.")
    ] = "auto",
    max_tokens: Annotated[
        int, typer.Option(help="Tokens the model sees of a text; 0: what it takes.")
    ] = 0,
    window_overlap: Annotated[
        int, typer.Option(help="Tokens that neighbouring windows share (truncation windows).")
    ] = 128,
    threads: Annotated[
        int, typer.Option(help="Threads that work on the model; 0: the CPUs there are.")
    ] = 0,
    restart: Annotated[
        bool,
        typer.Option("--restart", help="Forget an interrupted run, replace a finished output."),
    ] = False,
) -> None:
    """Score a file of any length; after an interruption the same command goes on."""
    from roberta_sentiment.tools.score.run import score

    settings = Settings.read(
        {
            "head": head,
            "truncation": truncation,
            "max_tokens": max_tokens,
            "window_overlap": window_overlap,
            "threads": threads,
        },
        {},
    )
    artifact = open_artifact(*locate(str(model or "")))
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with _bar(console) as bar:
        task = bar.add_task(data.name, total=None, rows=0)
        shown = 0

        def tell(told: Told) -> None:
            nonlocal shown
            state = told.state
            if not bar.tasks[0].total:
                bar.update(task, total=state.identity["input"]["size"])
                if told.resumed:
                    console.print(f"going on after line {state.line}", markup=False)
            bar.update(task, completed=state.offset, rows=state.rows + state.rejected)
            for row in told.bad[: max(0, SHOWN - shown)]:
                console.print(f"line {row.start.line + 1}: {row.reason}", markup=False)
            shown += len(told.bad)

        state = score(
            data,
            output,
            artifact,
            settings,
            text_column=text_column,
            prefix=prefix,
            restart=restart,
            tell=tell,
        )
    console.print(f"{output}: {state.rows} rows, {state.truncated} truncated", markup=False)
    if state.rejected:
        console.print(
            f"{output}.rejected.jsonl: {state.rejected} rows put aside",
            style="yellow",
            markup=False,
        )


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%  {task.fields[rows]:,} rows"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
