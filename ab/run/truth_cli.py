"""The command `truth`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ab.attribution import Graph, Model
from ab.clock import Clock
from ab.data import read_truths
from ab.endpoint import parse_endpoint
from ab.errors import RecordError
from ab.observations import run_of
from ab.options import Headers, RewardRight, RewardWrong, Timeout, Tries
from ab.record import Journal, read_record
from ab.run.feedback import FeedbackSender, Reward
from ab.run.retry import Retries
from ab.run.session import close_open_feedback, stopping
from ab.run.truth import deliver, match
from ab.transport.connect import connect
from roberta_sentiment.tools.labelled import (
    LabelColumnOption,
    LabelMapOption,
    TextColumnOption,
    read_label_map,
)


def command(
    record: Annotated[Path, typer.Argument(help="Record of `ab run`.")],
    truths: Annotated[
        Path, typer.Argument(help="Truths: .tsv, .csv or .jsonl with a label and `id` or a text.")
    ],
    endpoint: Annotated[
        str | None, typer.Option(help="Where feedback goes; by default as in the record.")
    ] = None,
    header: Headers = None,
    text_column: TextColumnOption = "",
    label_column: LabelColumnOption = "",
    label_map: LabelMapOption = "",
    timeout: Timeout = 10.0,
    tries: Tries = 4,
    feedback: Annotated[bool, typer.Option(help="Send the truths back.")] = True,
    reward_right: RewardRight = 1.0,
    reward_wrong: RewardWrong = 0.0,
) -> None:
    """Add truths that came later to a record, and send them back along the route."""
    if not record.exists():
        raise RecordError(f"{record.name} does not exist")
    clock = Clock()
    with contextlib.ExitStack() as stack:
        journal = stack.enter_context(Journal(record))
        stack.enter_context(stopping(clock.stop))
        content = read_record(record)
        run = run_of(content)
        given = read_truths(
            truths,
            run["labels"],
            text_column=text_column,
            label_column=label_column,
            label_map=read_label_map(label_map, run["labels"]),
        )
        matched, unmatched = match(given, content.events)
        for line in close_open_feedback(content.events, clock.now()):
            journal.append(line)
        sender = None
        if feedback and not (endpoint or run["endpoint"]):
            raise RecordError("the record names no endpoint; give --no-feedback, or --endpoint")
        if feedback:
            where = parse_endpoint(endpoint or run["endpoint"], header or ())
            transport = stack.enter_context(contextlib.closing(connect(where, timeout)))
            sender = FeedbackSender(
                transport=transport,
                journal=journal,
                clock=clock,
                graph=Graph(tuple(Model(**m) for m in run["models"]), run["router"]),
                retries=Retries(tries),
                reward=Reward(reward_right, reward_wrong),
            )
            sender = sender if where.model is None else None
        counts = deliver(matched, journal, clock, sender)
    sent = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    Console(stderr=True, highlight=False).print(
        f"{len(matched)} truths matched, {len(unmatched)} fit no answer: {sent or 'nothing to do'}",
        markup=False,
    )
