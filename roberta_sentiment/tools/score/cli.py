"""The command line of `score`: options, a progress bar and a summary."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from roberta_sentiment.model.artifact import locate, open_artifact
from roberta_sentiment.tools.labelled import TextColumnOption
from roberta_sentiment.tools.options import (
    HeadOption,
    MaxTokensOption,
    ModelOption,
    ThreadsOption,
    TruncationOption,
    WindowOverlapOption,
    read_settings,
)

if TYPE_CHECKING:
    from roberta_sentiment.tools.score.run import Progress as ScoreProgress

SHOWN = 5
"""Rejected rows that are shown on the screen; the file has them all."""


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
    model: ModelOption = None,
    text_column: TextColumnOption = "",
    prefix: Annotated[
        str, typer.Option(help="Put before the names of the added columns (label, score, ...).")
    ] = "",
    truncation: TruncationOption = "end",
    head: HeadOption = "auto",
    max_tokens: MaxTokensOption = 0,
    window_overlap: WindowOverlapOption = 128,
    threads: ThreadsOption = 0,
    restart: Annotated[
        bool,
        typer.Option("--restart", help="Forget an interrupted run, replace a finished output."),
    ] = False,
) -> None:
    """Score a file of any length; after an interruption the same command resumes."""
    from roberta_sentiment.tools.score.run import score

    settings = read_settings(truncation, head, max_tokens, window_overlap, threads)
    artifact = open_artifact(*locate(str(model or "")))
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with _bar(console) as bar:
        state = score(
            data,
            output,
            artifact,
            settings,
            text_column=text_column,
            prefix=prefix,
            restart=restart,
            on_progress=_Display(console, bar, data.name).show,
        )
    console.print(f"{output}: {state.rows} rows, {state.truncated} truncated", markup=False)
    if state.rejected:
        console.print(
            f"{output}.rejected.jsonl: {state.rejected} rows rejected",
            style="yellow",
            markup=False,
        )


class _Display:
    """Shows how far a run is, and the first rows that can't be scored."""

    def __init__(self, console: Console, bar: Progress, name: str) -> None:
        self._console, self._bar = console, bar
        self._task = bar.add_task(name, total=None, rows=0)
        self._shown = 0

    def show(self, progress: ScoreProgress) -> None:
        """Show the state after a chunk."""
        state = progress.state
        if not self._bar.tasks[0].total:
            self._bar.update(self._task, total=state.identity["input"]["size"])
            if progress.resumed:
                self._console.print(f"resuming after line {state.line}", markup=False)
        rows = state.rows + state.rejected
        self._bar.update(self._task, completed=state.offset, rows=rows)
        for row in progress.bad[: max(0, SHOWN - self._shown)]:
            self._console.print(f"line {row.start.line + 1}: {row.reason}", markup=False)
        self._shown += len(progress.bad)


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%  {task.fields[rows]:,} rows"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
