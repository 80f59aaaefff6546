"""The command `import`: a record from the log of somebody else's requests."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ab import options
from ab.attribution import Graph, parse_models
from ab.clock import Clock
from ab.events import Run
from ab.imported.log_events import LogEvent, read_events
from ab.imported.pairs import Importer
from ab.imported.sink import Sink
from ab.observations import run_of
from ab.record import Journal, drop_texts, read_record
from ab.run.cli import graph_of
from ab.run.session import stopping
from ab.run.tasks import check_same
from roberta_sentiment.errors import DataError
from roberta_sentiment.tools import labelled

_HOUR_S, _DAY_S = 3600.0, 86400.0


def command(
    record: Annotated[Path, typer.Option(help="Record to write, or to add to.")],
    events: Annotated[
        Path | None,
        typer.Argument(
            help="Log: CloudEvents as JSON lines, or documents of Seldon's request logger as "
            "Elasticsearch exports them."
        ),
    ] = None,
    listen: Annotated[
        str | None, typer.Option(help="HOST:PORT of a sink for `logger.url`, instead of a file.")
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=SHARE, once a model, the one to beat first: name of its graph node, of its "
            "predictor, its model_name, or MODEL_NAME/MODEL_VERSION."
        ),
    ] = None,
    manifest: options.Manifest = None,
    router: options.Router = None,
    labels: options.Labels = options.LABELS,
    label_map: labelled.LabelMapOption = "",
    deployment: Annotated[
        str, typer.Option(help="SeldonDeployment, if the log is of several.")
    ] = "",
    sampled: Annotated[
        list[str] | None,
        typer.Option(help="Part of the requests that the log holds: RATE, or MODEL=RATE for each."),
    ] = None,
    keep_texts: options.KeepTexts = False,
    retention: Annotated[
        float | None, typer.Option(help="Days after which kept texts are deleted.", min=0)
    ] = None,
    settle: Annotated[
        float, typer.Option(help="With --listen: seconds to wait for a request's answer.", min=0)
    ] = 30.0,
) -> None:
    """Make a record of requests that others sent, from the log that Seldon keeps of them."""
    if (events is None) == (listen is None):
        raise DataError("name a file of events, or --listen HOST:PORT, and not both")
    graph = graph_of(models or [], manifest, router)
    rates = _rates(sampled or [], graph.names)
    names = options.parse_labels(labels)
    log = Importer(
        graph=_as_logged(graph, rates),
        labels=names,
        label_map=labelled.read_label_map(label_map, names),
        deployment=deployment,
        keep_texts=keep_texts,
    )
    run = _run(log, events.name if events else "the request log", rates)
    oldest = None if retention is None else retention * _DAY_S
    if events is not None:
        found = list(read_events(events))
        if not any(found):
            raise DataError(
                f"{events.name} holds no event of a request log; needed are CloudEvents with their "
                "headers, or documents of Seldon's request logger"
            )
        _add(record, log, _begin(record, run), found)
    else:
        _listen(str(listen), settle, record, log, run, oldest)
    if oldest is not None:
        drop_texts(record, time.time() - oldest)
    said = ", ".join(f"{count:,} {what}" for what, count in log.counts.items() if count)
    Console(stderr=True, highlight=False).print(said or "nothing was imported", markup=False)


def _listen(
    address: str, settle: float, record: Path, log: Importer, run: Run, oldest: float | None
) -> None:
    """Add what comes until SIGTERM or Ctrl-C, and delete texts that are too old once an hour."""
    clock, cleaned = Clock(), 0.0
    with stopping(clock.stop), contextlib.closing(Sink(address)) as sink:
        known = _begin(record, run)
        Console(stderr=True).print(f"listening on port {sink.port}", markup=False)
        while not clock.stop.is_set():
            clock.sleep(1.0)
            _add(record, log, known, sink.take(time.time() - settle))
            if oldest is not None and time.time() >= cleaned + _HOUR_S:
                cleaned = time.time()
                drop_texts(record, cleaned - oldest)
    _add(record, log, known, sink.take(float("inf")))


def _begin(record: Path, run: Run) -> set[str]:
    """Write the first line, or read which requests the record has.

    Raises:
        RecordError: it is of other models, labels or rates.
    """
    if not record.exists() or not record.stat().st_size:
        with Journal(record) as journal:
            journal.append(run.event())
        return set()
    content = read_record(record)
    check_same(run_of(content), run.event(), ("labels", "models", "sampled"))
    return {e["puid"] for e in content.events if e["event"] == "request"}


def _add(record: Path, log: Importer, known: set[str], events: Iterable[LogEvent | None]) -> None:
    """Add the lines of these events, but of known requests."""
    if lines := list(log.lines(events, known)):
        known |= {line["puid"] for line in lines if "puid" in line}
        with Journal(record) as journal:
            for line in lines:
                journal.append(line)
        log.counts["lines written"] += len(lines)


def _run(log: Importer, name: str, rates: Mapping[str, float]) -> Run:
    return Run(
        run=uuid.uuid4().hex[:12],
        time=Clock().now(),
        endpoint="",
        data={"name": name, "sha256": "", "reviews": 0},
        labels=list(log.labels),
        models=[dataclasses.asdict(model) for model in log.graph.models],
        router=log.graph.router,
        keep_texts=log.keep_texts,
        sampled=dict(rates),
    )


def _rates(given: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    """The part of each model's requests that the log holds; empty for all."""
    pairs = [item.rpartition("=") for item in given]
    try:
        rates = {name: float(rate) for name, _, rate in pairs}
    except ValueError:
        rates = {}
    if len(given) == 1 and "" in rates:
        rates = dict.fromkeys(names, rates[""])
    if given and not (set(rates) == {*names} and all(0 < rate <= 1 for rate in rates.values())):
        raise DataError(
            f"--sampled {' '.join(given)!r}: give one RATE above 0 and up to 1, or MODEL=RATE for "
            f"each of {', '.join(names)}"
        )
    return rates


def _as_logged(graph: Graph, rates: Mapping[str, float]) -> Graph:
    """The graph with the shares that its models have in a log that holds a part of the requests."""
    parts = [f"{model.name}={model.share * rates.get(model.name, 1.0)}" for model in graph.models]
    return dataclasses.replace(graph, models=parse_models(parts))
