"""Runs against an endpoint, and what their records say."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ab.__main__ import main
from ab.attribution import Graph, parse_models
from ab.observations import Observations, observe
from ab.record import Event, read_record
from ab.run.options import Options, Pace
from ab.run.session import Result, Session

LABELS = ("negative", "positive")


def write_reviews(path: Path, n: int, *, labelled: bool = True) -> Path:
    """Texts `review 0` to `review n-1`; odd ones are positive."""
    head, rows = ("id\ttext\tlabel\n", []) if labelled else ("id\ttext\n", [])
    for i in range(n):
        rows.append(f"{i}\treview {i}" + (f"\t{LABELS[i % 2]}" if labelled else "") + "\n")
    path.write_text(head + "".join(rows), encoding="utf-8")
    return path


def options(
    reviews: Path,
    url: str,
    models: Sequence[str] = ("a", "b"),
    router: str | None = None,
    ports: Mapping[int, str] | None = None,
    **changed: Any,
) -> Options:
    """A run of these models with quick retries."""
    fields: dict[str, Any] = {
        "reviews": reviews,
        "record": reviews.with_name("record.jsonl"),
        "endpoint": url,
        "graph": Graph(parse_models(models), router, ports or {}),
        "labels": LABELS,
        "pace": Pace(0.0, 3, 0),
        "tries": 3,
        "seed": 1,
    }
    return Options(**{**fields, **changed})


@dataclasses.dataclass(frozen=True)
class Ended:
    """The end of a command: exit code and output, with every run of white space as one space."""

    code: int
    out: str
    err: str


def run_ab(*arguments: str | Path, main: Callable[[Sequence[str]], None] = main) -> Ended:
    """`python -m ab ARGUMENTS`, or another program, in this process."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = int(end.code or 0)
    return Ended(code, *(" ".join(text.getvalue().split()) for text in (out, err)))


def execute(given: Options) -> Result:
    """One session, to its end."""
    return Session(given).execute(lambda counts: None)


def seen(given: Options) -> Observations:
    """The record of a run, reduced."""
    return observe(read_record(given.record))


def lines(given: Options, event: str) -> dict[str, Event]:
    """The last line of a kind by review."""
    return {e["id"]: e for e in read_record(given.record).events if e["event"] == event}


def once(n: int) -> Counter[str]:
    """Each review one time."""
    return Counter({f"review {i}": 1 for i in range(n)})
