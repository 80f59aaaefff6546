"""The command `run`: options, progress bar and summary."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ab import options
from ab.attribution import Graph, parse_models
from ab.manifest import read_ab_test
from ab.run.options import Options, Pace, Reward
from ab.run.runner import RETRIED, OnProgress
from ab.run.session import Result, Session
from ab.transport.reply import Outcome
from roberta_sentiment.errors import DataError
from roberta_sentiment.tools import labelled

STOPPED = 3
"""Exit code of a run that is not done; it can be resumed."""


def command(
    reviews: Annotated[
        Path, typer.Argument(help="Reviews: .tsv, .csv or .jsonl; label and `id` may be missing.")
    ],
    endpoint: Annotated[
        str,
        typer.Option(
            help="http(s)://HOST:PORT or grpc(s)://HOST:PORT, behind a gateway with "
            "/seldon/NAMESPACE/DEPLOYMENT; for V2 with /v2/models/NAME, and then without feedback."
        ),
    ],
    record: Annotated[Path, typer.Option(help="Record to write, JSON lines.")],
    models: Annotated[
        list[str] | None,
        typer.Option(help="NAME or NAME=SHARE, once a model, in the order of the graph."),
    ] = None,
    manifest: options.Manifest = None,
    router: options.Router = None,
    header: options.Headers = None,
    labels: options.Labels = options.LABELS,
    text_column: labelled.TextColumnOption = "",
    label_column: labelled.LabelColumnOption = "",
    label_map: labelled.LabelMapOption = "",
    rate: Annotated[
        float, typer.Option(help="Requests a second; 0: as fast as possible.")
    ] = Pace.rate,
    concurrency: options.Concurrency = Pace.concurrency,
    timeout: options.Timeout = Options.timeout_s,
    tries: options.Tries = Options.tries,
    seed: options.Seed = Options.seed,
    limit: options.Limit = None,
    feedback: Annotated[bool, typer.Option(help="Send truths back.")] = True,
    reward_right: options.RewardRight = Reward.right,
    reward_wrong: options.RewardWrong = Reward.wrong,
    keep_texts: options.KeepTexts = False,
    resume: Annotated[bool, typer.Option(help="Go on with a record.")] = False,
    retry_lost: Annotated[
        bool, typer.Option(help="With --resume: send again what had no answer.")
    ] = False,
    give_up_after: Annotated[
        int, typer.Option(help="Stop after so many lost requests in a row; 0: never.", min=0)
    ] = Pace.give_up_after,
) -> None:
    """Send reviews through an endpoint, and their truths back along the route."""
    if rate < 0:
        raise DataError("the rate is a number of requests a second, or 0")
    names = options.parse_labels(labels)
    given = Options(
        reviews=reviews,
        text_column=text_column,
        label_column=label_column,
        record=record,
        endpoint=endpoint,
        headers=header or (),
        graph=graph_of(models or [], manifest, router),
        labels=names,
        label_map=labelled.read_label_map(label_map, names),
        pace=Pace(rate, concurrency, give_up_after),
        timeout_s=timeout,
        tries=tries,
        seed=seed,
        limit=limit,
        feedback=feedback,
        reward=Reward(reward_right, reward_wrong),
        keep_texts=keep_texts,
        resume=resume,
        retry_lost=retry_lost,
    )
    if not execute(given).done:
        sys.exit(STOPPED)


def execute(given: Options) -> Result:
    """Do a run with a progress bar, and say how it ended."""
    console = Console(stderr=True, highlight=False)
    session = Session(given)
    with _progress_bar(console, len(session.tasks)) as on_progress:
        result = session.execute(on_progress)
    console.print(_summary(result, given.record), markup=False)
    return result


def _summary(result: Result, record: Path) -> str:
    """What happened, and how to go on."""
    sent = ", ".join(f"{count} {name}" for name, count in sorted(result.counts.items()))
    if result.done:
        return f"done: {sent or 'nothing was left to do'}"
    why = f"stopped: {result.gave_up}" if result.gave_up else "stopped"
    return f"{why}\n{sent or 'nothing was sent'}\ngo on with --resume; {record.name} holds the rest"


def graph_of(given: Sequence[str], manifest: Path | None, router: str | None) -> Graph:
    """The graph that the options `--models`, `--manifest` and `--router` describe.

    Raises:
        DataError: neither or both of the first two are given, or they can't be read.
    """
    if manifest is None:
        if not given:
            raise DataError("name the models with --models, or give the --manifest")
        return Graph(parse_models(given), router)
    if given:
        raise DataError("give --models or --manifest, not both")
    graph = read_ab_test(manifest).graph
    return dataclasses.replace(graph, router=router or graph.router)


@contextlib.contextmanager
def _progress_bar(console: Console, total: int) -> Iterator[OnProgress]:
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TimeRemainingColumn(), TextColumn("{task.fields[lost]}"),
    )  # fmt: skip
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("reviews", total=total, lost="")

        def on_progress(counts: Counter[str]) -> None:
            lost = sum(n for name, n in counts.items() if _is_loss(name))
            bar.update(task, advance=1, lost=f"{lost} lost" if lost else "")

        yield on_progress


def _is_loss(name: str) -> bool:
    return name not in (Outcome.ANSWERED, RETRIED) and not name.startswith("feedback")
