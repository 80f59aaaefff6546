"""The command: options, progress bar and what is said at the end."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ab.attribution import Model, parse_models
from ab.errors import DataError
from ab.manifest import read_ab_test
from ab.run.feedback import Reward
from ab.run.runner import RETRIED, Pace
from ab.run.runner import Progress as OnProgress
from ab.run.session import Options, Result, Session
from ab.transport import Outcome
from roberta_sentiment.tools.labelled import LabelColumnOption, TextColumnOption

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
            "/seldon/NAMESPACE/DEPLOYMENT."
        ),
    ],
    record: Annotated[Path, typer.Option(help="Record to write, JSON lines.")],
    models: Annotated[
        list[str] | None,
        typer.Option(help="NAME or NAME=SHARE, once a model, in the order of the graph."),
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="Take models, shares and router from its RANDOM_ABTEST.")
    ] = None,
    router: Annotated[
        str | None, typer.Option(help="Graph node that chooses, where several do or none tells.")
    ] = None,
    labels: Annotated[
        str, typer.Option(help="Names of the classes, in the order of their indices.")
    ] = "negative,positive",
    text_column: TextColumnOption = "",
    label_column: LabelColumnOption = "",
    rate: Annotated[float, typer.Option(help="Requests a second; 0: as fast as possible.")] = 0.0,
    concurrency: Annotated[int, typer.Option(help="Requests at once.", min=1, max=1024)] = 4,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for an answer.", min=0.1)] = 10.0,
    tries: Annotated[int, typer.Option(help="Tries for one answer.", min=1, max=20)] = 4,
    seed: Annotated[int, typer.Option(help="Of the order of the reviews.")] = 13,
    limit: Annotated[int | None, typer.Option(help="Reviews at most.", min=1)] = None,
    feedback: Annotated[bool, typer.Option(help="Send truths back.")] = True,
    reward_right: Annotated[float, typer.Option(help="Reward of a right answer.")] = 1.0,
    reward_wrong: Annotated[float, typer.Option(help="Reward of a wrong answer.")] = 0.0,
    keep_texts: Annotated[
        bool, typer.Option(help="Keep the reviews in the record; else only a checksum.")
    ] = False,
    resume: Annotated[bool, typer.Option(help="Go on with a record.")] = False,
    retry_lost: Annotated[
        bool, typer.Option(help="With --resume: send again what had no answer.")
    ] = False,
    give_up_after: Annotated[
        int, typer.Option(help="Stop after so many lost requests in a row; 0: never.", min=0)
    ] = 20,
) -> None:
    """Send reviews through a Seldon endpoint, and their truths back along the route."""
    if rate < 0:
        raise DataError("the rate is a number of requests a second, or 0")
    known, chosen, ports = _models(models or [], manifest, router)
    options = Options(
        reviews=reviews, text_column=text_column, label_column=label_column,
        record=record, endpoint=endpoint, models=known, router=chosen,
        labels=_labels(labels), pace=Pace(rate, concurrency, give_up_after), timeout_s=timeout,
        tries=tries, seed=seed, limit=limit, feedback=feedback,
        reward=Reward(reward_right, reward_wrong), keep_texts=keep_texts, resume=resume,
        retry_lost=retry_lost, ports=ports,
    )  # fmt: skip
    console = Console(stderr=True, highlight=False)
    session = Session(options)
    with progress_bar(console, len(session.tasks)) as progress:
        result = session.execute(progress)
    console.print(summary(result, record), markup=False)
    if not result.done:
        sys.exit(STOPPED)


def summary(result: Result, record: Path) -> str:
    """What happened, and how to go on."""
    told = ", ".join(f"{count} {name}" for name, count in sorted(result.counts.items()))
    if result.done:
        return f"done: {told or 'nothing was left to do'}"
    why = f"stopped: {result.gave_up}" if result.gave_up else "stopped"
    return f"{why}\n{told or 'nothing was sent'}\ngo on with --resume; {record.name} holds the rest"


def _models(
    given: Sequence[str], manifest: Path | None, router: str | None
) -> tuple[tuple[Model, ...], str | None, Mapping[int, str]]:
    if manifest is None:
        if not given:
            raise DataError("name the models with --models, or give the --manifest")
        return parse_models(given), router, {}
    if given:
        raise DataError("give --models or --manifest, not both")
    test = read_ab_test(manifest)
    return test.models, router or test.router, test.ports


def _labels(given: str) -> tuple[str, ...]:
    labels = tuple(label.strip() for label in given.split(","))
    if len(labels) < 2 or not all(labels) or len(set(labels)) < len(labels):
        raise DataError(f"--labels is {given!r}; two or more different names are needed")
    return labels


@contextlib.contextmanager
def progress_bar(console: Console, total: int) -> Iterator[OnProgress]:
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TimeRemainingColumn(), TextColumn("{task.fields[told]}"),
    )  # fmt: skip
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("reviews", total=total, told="")

        def progress(counts: Counter[str]) -> None:
            lost = sum(n for name, n in counts.items() if _is_loss(name))
            bar.update(task, advance=1, told=f"{lost} lost" if lost else "")

        yield progress


def _is_loss(name: str) -> bool:
    return name not in (Outcome.ANSWERED, RETRIED) and not name.startswith("feedback")
