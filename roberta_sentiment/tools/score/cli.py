"""The command line of `score`: options, a progress bar and a summary."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from roberta_sentiment.errors import DataError
from roberta_sentiment.model.artifact import Artifact, locate, open_artifact
from roberta_sentiment.settings import Settings
from roberta_sentiment.tools.extras import need
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
from roberta_sentiment.tools.rows import Kind
from roberta_sentiment.tools.streams import STANDARD

if TYPE_CHECKING:
    from roberta_sentiment.tools.score.run import Progress as ScoreProgress

SHOWN = 5
"""Rejected rows that are shown on the screen; the file has them all."""
_FORMATS = ", ".join(get_args(Kind))


def command(
    data: Annotated[
        str,
        typer.Argument(
            help="Texts: .csv, .tsv, .jsonl or .txt (a text a line), with .gz or .zst if you like, "
            ".parquet, or - for standard input."
        ),
    ],
    output: Annotated[
        str,
        typer.Argument(
            help="Ends as the input may, or -; rows that can't be scored go to "
            "<output>.rejected.jsonl."
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
    kind: Annotated[
        str, typer.Option("--format", help=f"Of the input, if its name does not tell: {_FORMATS}.")
    ] = "",
    written_kind: Annotated[
        str, typer.Option("--output-format", help="The same of the output.")
    ] = "",
    shard: Annotated[
        str, typer.Option(help="A part of the input: 3/16 is the third of 16.")
    ] = "1/1",
    engine: Annotated[
        str, typer.Option(help="local, or spark: any path that Spark knows, in and out.")
    ] = "local",
    partitions: Annotated[
        int, typer.Option(help="Tasks of Spark that score; 0: about 10,000 rows of Parquet each.")
    ] = 0,
    restart: Annotated[
        bool,
        typer.Option("--restart", help="Forget an interrupted run, replace a finished output."),
    ] = False,
) -> None:
    """Score a file of any length; after an interruption the same command resumes."""
    settings = read_settings(truncation, head, max_tokens, window_overlap, threads)
    options: dict[str, Any] = {
        "text_column": text_column,
        "prefix": prefix,
        "kind": _kind(kind),
        "written_kind": _kind(written_kind),
        "restart": restart,
    }
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if engine == "spark":
        need("pyspark", "spark")
        from roberta_sentiment import spark

        if shard != "1/1":
            raise DataError("Spark divides the input by itself; leave --shard out")
        rows, rejected = spark.score(
            str(data), str(output), model, settings, partitions=partitions, **options
        )
        console.print(f"{output}: {rows} rows", markup=False)
        _print_rejected(console, f"{output}.rejected: ", rejected)
        return
    if engine != "local":
        raise DataError(f"the engine {engine!r} is none of local, spark")
    artifact = open_artifact(*locate(str(model or "")))
    options["shard"] = _shard(shard)
    _score_here(Path(data), Path(output), artifact, settings, console, options)


def _score_here(
    data: Path,
    output: Path,
    artifact: Artifact,
    settings: Settings,
    console: Console,
    options: Mapping[str, Any],
) -> None:
    """Score in this process, with a progress bar."""
    from roberta_sentiment.tools.score.run import score

    with _bar(console) as bar:
        display = _Display(console, bar, data.name, SHOWN if output != STANDARD else None)
        state = score(data, output, artifact, settings, on_progress=display.show, **options)
    console.print(f"{output}: {state.rows} rows, {state.truncated} truncated", markup=False)
    where = "" if output == STANDARD else f"{output}.rejected.jsonl: "
    _print_rejected(console, where, state.rejected)


def _print_rejected(console: Console, where: str, rows: int) -> None:
    if rows:
        console.print(f"{where}{rows} rows rejected", style="yellow", markup=False)


def _kind(asked: str) -> Kind | None:
    if asked not in ("", *get_args(Kind)):
        raise DataError(f"the format {asked!r} is not one of {_FORMATS}")
    return cast(Kind, asked) or None


def _shard(asked: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", asked)
    number, count = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= count:
        raise DataError(f"the shard {asked!r} is none of 1/16 to 16/16, for example")
    return number, count


class _Display:
    """Shows how far a run is, and the first rows that can't be scored.

    Args:
        most: how many of these rows; none shows them all.
    """

    def __init__(self, console: Console, bar: Progress, name: str, most: int | None) -> None:
        self._console, self._bar = console, bar
        self._most = most
        self._task = bar.add_task(name, total=None, rows=0)
        self._shown = 0

    def show(self, progress: ScoreProgress) -> None:
        """Show the state after a chunk."""
        state = progress.state
        if progress.resumed and not self._bar.tasks[0].completed:
            self._console.print(f"resuming after line {state.line}", markup=False)
        rows = state.rows + state.rejected
        self._bar.update(self._task, total=progress.size, completed=state.offset, rows=rows)
        shown = None if self._most is None else max(0, self._most - self._shown)
        for row in progress.bad[:shown]:
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
