"""The command `truth`: truths that come after the answers, recorded and sent back as feedback."""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ab import options
from ab.attribution import Graph, Model
from ab.clock import Clock
from ab.data import Truth, read_truths
from ab.endpoint import parse_endpoint
from ab.errors import RecordError
from ab.events import FeedbackState, truth
from ab.observations import feedback_states, first_answers, run_of, truths_of
from ab.record import Event, Journal, read_record
from ab.run.feedback import FeedbackSender
from ab.run.options import Reward
from ab.run.session import close_open_feedback, stopping
from ab.transport import connect
from roberta_sentiment.errors import DataError
from roberta_sentiment.tools import labelled


def match(
    truths: Sequence[Truth], events: Sequence[Event]
) -> tuple[list[tuple[Event, Truth]], list[Truth]]:
    """Find the answers that truths are about: by id, else by text.

    A text that was sent under several ids gives all of them its truth.

    Returns:
        The request lines with their truths, and the truths that fit no answer.

    Raises:
        DataError: a truth contradicts another one of the same review, or is of another text.
    """
    lines = first_answers(events)
    by_text: Mapping[str, list[str]] = defaultdict(list)
    for identity, line in lines.items():
        by_text[line["sha256"]].append(identity)
    known = truths_of(events)[0]
    matched, unmatched = {}, []
    for item in truths:
        named = item.id is not None and [item.id, item.id.removesuffix("#0")]
        found = dict.fromkeys(named or by_text.get(item.sha256 or "", []))
        found_lines = [lines[identity] for identity in found if identity in lines]
        if not found_lines:
            unmatched.append(item)
        for line in found_lines:
            if (earlier := known.setdefault(line["id"], item.label)) != item.label:
                raise DataError(
                    f"review {line['id']} is {earlier} already, and now {item.label}; nothing was "
                    "sent"
                )
            if item.sha256 not in (None, line["sha256"]) and line["sha256"]:
                raise DataError(
                    f"review {line['id']} is another text in the file than in the record"
                )
            matched[line["id"]] = line, item
    return list(matched.values()), unmatched


def deliver(
    matched: Sequence[tuple[Event, Truth]],
    events: Sequence[Event],
    journal: Journal,
    clock: Clock,
    sender: FeedbackSender | None,
) -> Counter[str]:
    """Record the truths that the record does not hold yet, and send what is due.

    Returns:
        Counts: `recorded`, and feedbacks by `feedback STATE`.
    """
    known, states = truths_of(events)[0], feedback_states(events)
    counts: Counter[str] = Counter()
    for line, item in matched:
        identity = line["id"]
        if clock.stop.is_set():
            break
        if identity not in known:
            journal.append(truth(clock.now(), identity, item.label, item.rate))
            counts["recorded"] += 1
        if sender is not None and states.get(identity) in (None, FeedbackState.REFUSED):
            state = sender.send(line, item.label, item.text or line.get("text"))
            counts[f"feedback {state}"] += 1
    return counts


def command(
    record: Annotated[Path, typer.Argument(help="Record of `ab run`.")],
    truths: Annotated[
        Path, typer.Argument(help="Truths: .tsv, .csv or .jsonl with a label and `id` or a text.")
    ],
    endpoint: Annotated[
        str | None, typer.Option(help="Where feedback goes; by default as in the record.")
    ] = None,
    header: options.Headers = None,
    text_column: labelled.TextColumnOption = "",
    label_column: labelled.LabelColumnOption = "",
    label_map: labelled.LabelMapOption = "",
    timeout: options.Timeout = 10.0,
    tries: options.Tries = 4,
    feedback: Annotated[bool, typer.Option(help="Send the truths back.")] = True,
    reward_right: options.RewardRight = 1.0,
    reward_wrong: options.RewardWrong = 0.0,
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
            label_map=labelled.read_label_map(label_map, run["labels"]),
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
            graph = Graph(tuple(Model(**m) for m in run["models"]), run["router"])
            reward = Reward(reward_right, reward_wrong)
            if where.model is None:
                sender = FeedbackSender(transport, journal, clock, graph, tries, reward)
        counts = deliver(matched, content.events, journal, clock, sender)
    sent = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    Console(stderr=True, highlight=False).print(
        f"{len(matched)} truths matched, {len(unmatched)} fit no answer: {sent or 'nothing to do'}",
        markup=False,
    )
