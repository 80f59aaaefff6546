"""The command `rehearse`: the whole A/B test of a manifest on one machine."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ab.errors import ABError, DataError
from ab.manifest import ABTest, Child, read_ab_test
from ab.observations import confusion_of_feedback
from ab.record import read_record
from ab.rehearsal.counters import Cell, compare
from ab.rehearsal.gateway import Executor
from ab.rehearsal.graph import Node, Predictor
from ab.report.cli import command as report
from ab.run.cli import STOPPED, execute
from ab.run.runner import Pace
from ab.run.session import Options
from scripts.local_service import Microservice, ServerError
from scripts.serve import ROOT, image_environment

LABELS = ("negative", "positive")
OWN_REVIEWS = Path(__file__).with_name("reviews.tsv")
SHARED_REVIEWS = ROOT.parent / "shared" / "data" / "sst2_dev.tsv"

SOURCES = {
    "roberta": ROOT,
    "lexicon": ROOT / "baselines" / "lexicon",
    "linear": ROOT / "baselines" / "linear",
}
"""Where the image of a container is built from."""

_LOG_LINES = 15


def command(
    manifest: Annotated[
        Path, typer.Option(help="SeldonDeployment with a RANDOM_ABTEST node.")
    ] = ROOT / "deploy" / "ab-test.yaml",
    reviews: Annotated[
        Path | None,
        typer.Option(help="Labelled reviews; by default SST-2 dev, else the project's."),
    ] = None,
    limit: Annotated[int, typer.Option(help="Reviews at most.", min=1)] = 300,
    output: Annotated[Path, typer.Option(help="Folder of record and report.")] = ROOT
    / "build"
    / "ab",
    seed: Annotated[int, typer.Option(help="Of the order and of the split.")] = 13,
    concurrency: Annotated[int, typer.Option(help="Requests at once.", min=1)] = 4,
) -> None:
    """Start both models of a manifest, test them against each other, and report."""
    start = time.monotonic()
    console = Console(highlight=False)
    test = read_ab_test(manifest)
    source = reviews or (SHARED_REVIEWS if SHARED_REVIEWS.exists() else OWN_REVIEWS)
    output.mkdir(parents=True, exist_ok=True)
    record = output / "record.jsonl"
    record.unlink(missing_ok=True)
    console.print(f"{test.deployment}: {_describe(test)}; reviews from {source.name}")
    with contextlib.ExitStack() as stack:
        services = {child.name: stack.enter_context(_start(child)) for child in test.children}
        _wait_until_ready(services)
        console.print(f"ready after {time.monotonic() - start:.0f} s")
        draw = random.Random(seed).random  # noqa: S311  a split, not a secret
        executor = stack.enter_context(Executor(_predictor(test, services), draw=draw).serve())
        ports = {service.http: name for name, service in services.items()}
        result = execute(
            Options(
                reviews=source,
                record=record,
                endpoint=executor.url,
                graph=dataclasses.replace(test.graph, ports=ports),
                labels=LABELS,
                pace=Pace(concurrency=concurrency),
                timeout_s=30.0,
                seed=seed,
                limit=limit,
                keep_texts=True,
            )
        )
        if not result.done:
            sys.exit(STOPPED)
        pages = {name: service.scrape() for name, service in services.items()}
    recorded = confusion_of_feedback(read_record(record).events)
    cells = compare(recorded, pages, LABELS)
    report(record, html_file=output / "report.html")
    console.print(_table(cells))
    console.print(f"{time.monotonic() - start:.0f} s; record {record}, page {output}/report.html")
    differing = [cell for cell in cells if not cell.agrees]
    if differing:
        raise ABError(f"{len(differing)} counters differ from the record")
    console.print("The confusion counters on both metrics ports equal the record.")


def _describe(test: ABTest) -> str:
    return ", ".join(f"{model.name} {model.share:.0%}" for model in test.graph.models)


def _start(child: Child) -> Microservice:
    source = SOURCES.get(child.name)
    if source is None:
        raise DataError(f"no source of container {child.name} is known: {', '.join(SOURCES)}")
    environment = {
        "GRPC_WORKERS": "0",
        "PREDICTIVE_UNIT_ID": child.name,
        "PREDICTIVE_UNIT_IMAGE": child.image,
        "PREDICTIVE_UNIT_PARAMETERS": json.dumps(child.parameters),
    }
    return Microservice(image_environment(source), environment)


def _wait_until_ready(services: Mapping[str, Microservice]) -> None:
    for name, service in services.items():
        try:
            service.wait_until_ready()
        except ServerError as error:
            last_lines = "\n".join(str(error).splitlines()[-_LOG_LINES:])
            raise ABError(f"{name} does not start:\n{last_lines}") from None


def _predictor(test: ABTest, services: Mapping[str, Microservice]) -> Predictor:
    children = tuple(Node(name, http_port=each.http) for name, each in services.items())
    graph = Node(test.router, "", "", ratio_a=str(test.ratio_a), children=children)
    return Predictor(test.predictor, graph, test.deployment)


def _table(cells: Sequence[Cell]) -> Table:
    table = Table("model", "truth", "prediction", "record", "metrics port", "")
    for cell in cells:
        row = (cell.model, cell.truth, cell.predicted, str(cell.recorded), str(cell.counted))
        table.add_row(*row, "equal" if cell.agrees else "DIFFERENT")
    return table
