"""`python -m rehearsal`: the whole A/B test of a manifest on one machine.

It ends with the exit code of `ab report --gate`; 4 also where a model does not start or its
counters differ from the record.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from ab.__main__ import no_verdict
from ab.errors import USAGE
from ab.manifest import read_ab_test
from ab.record import read_record
from ab.report.cli import command as report
from ab.report.gate import CODES
from ab.report.verdict import Decision
from ab.run.cli import STOPPED, execute
from ab.run.options import Options, Pace
from rehearsal.counters import Cell, compare
from rehearsal.gateway import Executor
from rehearsal.graph import Node, Predictor, read_graph
from roberta_sentiment.errors import DataError, StartError
from roberta_sentiment.tools.command_line import one_sentence
from scripts.local_service import OIP_COMMAND, InferenceServer, Microservice, ServerError
from scripts.serve import ROOT, image_environment

OWN_REVIEWS = Path(__file__).with_name("reviews.tsv")
SHARED_REVIEWS = ROOT.parent / "shared" / "data" / "sst2_dev.tsv"
SOURCES = {
    "roberta": ROOT,
    "lexicon": ROOT / "baselines" / "lexicon",
    "linear": ROOT / "baselines" / "linear",
}
"""Where the image of a container is built from."""

BASELINES = ("lexicon", "linear")
"""Models to beat, wherever they stand in the graph; otherwise the first one is."""

type Server = Microservice | InferenceServer

_LOG_LINES = 15


MANIFESTS = {
    "seldon": ROOT / "deploy" / "ab-test.yaml",
    "v2": ROOT / "deploy" / "oip" / "ab-test.yaml",
}
OUTPUT = ROOT / "build" / "ab"


def command(
    protocol: Annotated[
        Literal["seldon", "v2"], typer.Option(help="Of the manifest, if none is given.")
    ] = "seldon",
    manifest: Annotated[
        Path | None, typer.Option(help="SeldonDeployment with a RANDOM_ABTEST node.")
    ] = None,
    reviews: Annotated[
        Path | None,
        typer.Option(help="Labelled reviews; by default SST-2 dev, else the project's."),
    ] = None,
    limit: Annotated[int, typer.Option(help="Reviews at most.", min=1)] = 300,
    output: Annotated[Path, typer.Option(help="Folder of record and report.")] = OUTPUT,
    seed: Annotated[int, typer.Option(help="Of the order and of the split.")] = 13,
    concurrency: Annotated[int, typer.Option(help="Requests at once.", min=1)] = 4,
    grpc: Annotated[bool, typer.Option(help="Ask over gRPC, else over REST.")] = False,
) -> None:
    """Test both models of a manifest against each other, report, and end as `report --gate`."""
    start = time.monotonic()
    console = Console(highlight=False)
    test = read_ab_test(manifest or MANIFESTS[protocol])
    node = read_graph(test.predictor, test.node)
    source = reviews or (SHARED_REVIEWS if SHARED_REVIEWS.exists() else OWN_REVIEWS)
    output.mkdir(parents=True, exist_ok=True)
    record = output / "record.jsonl"
    record.unlink(missing_ok=True)
    shares = ", ".join(f"{model.name} {model.share:.0%}" for model in test.graph.models)
    console.print(f"{test.deployment}: {shares}; reviews from {source.name}")
    with contextlib.ExitStack() as stack:
        services: dict[str, Server] = {}
        for child in node.children:
            services[child.name] = _server(child, test.v2, grpc)
            stack.enter_context(services[child.name])
        _wait_until_ready(services)
        console.print(f"ready after {time.monotonic() - start:.0f} s")
        draw = random.Random(seed).random  # noqa: S311  a split, not a secret
        predictor = Predictor(
            test.predictor["name"], _at_ports(node, services), test.deployment, v2=test.v2
        )
        executor = stack.enter_context(Executor(predictor, draw=draw).serve())
        ports = {port: name for name, each in services.items() for port in (each.http, each.grpc)}
        base = f"grpc://{executor.target}" if grpc else executor.url
        options = Options(
            reviews=source,
            record=record,
            endpoint=f"{base}/v2/models/sentiment" if test.v2 else base,
            graph=dataclasses.replace(test.graph, ports=ports),
            labels=("negative", "positive"),
            pace=Pace(concurrency=concurrency),
            timeout_s=30.0,
            seed=seed,
            limit=limit,
            keep_texts=True,
        )
        if not execute(options).done:
            sys.exit(STOPPED)
        pages = {name: service.scrape() for name, service in services.items()}
    _check(console, compare(read_record(record).events, pages, feedback=not test.v2))
    console.print(f"{time.monotonic() - start:.0f} s; record {record}, page {output}/report.html")
    by_age = sorted(test.graph.models, key=lambda model: model.name not in BASELINES)
    models = [f"{model.name}={model.share}" for model in by_age]
    report(record, html_file=output / "report.html", models=models, gate=True)


def _server(child: Node, v2: bool, grpc: bool) -> Server:
    if v2:
        if not OIP_COMMAND.exists():
            raise StartError("V2 needs MLServer; `make serve-oip` installs it into .venv-oip")
        return InferenceServer(dict(child.environment))
    source = SOURCES.get(child.name)
    if source is None:
        raise DataError(f"no source of container {child.name} is known: {', '.join(SOURCES)}")
    environment = {
        "GRPC_WORKERS": str(int(grpc)),
        "PREDICTIVE_UNIT_ID": child.name,
        "PREDICTIVE_UNIT_IMAGE": child.image,
        "PREDICTIVE_UNIT_PARAMETERS": json.dumps(child.parameters),
    }
    return Microservice(image_environment(source), environment)


def _wait_until_ready(services: Mapping[str, Server]) -> None:
    for name, service in services.items():
        try:
            service.wait_until_ready()
        except ServerError as error:
            last_lines = "\n".join(str(error).splitlines()[-_LOG_LINES:])
            raise ServerError(f"{name} does not start:\n{last_lines}") from None


def _at_ports(node: Node, services: Mapping[str, Server]) -> Node:
    children = tuple(
        dataclasses.replace(
            child, type="MODEL", host="127.0.0.1",
            http_port=services[child.name].http, grpc_port=services[child.name].grpc,
        )
        for child in node.children
    )  # fmt: skip
    return dataclasses.replace(node, children=children)


def _check(console: Console, cells: Sequence[tuple[str, Cell, int, int]]) -> None:
    table = Table("model", "counted", "record", "metrics port", "")
    for model, cell, recorded, counted in cells:
        agrees = "equal" if recorded == counted else "DIFFERENT"
        table.add_row(model, " as ".join(cell), str(recorded), str(counted), agrees)
    console.print(table)
    differing = sum(recorded != counted for _, _, recorded, counted in cells)
    if differing:
        raise ServerError(f"{differing} counters differ from the record")
    console.print("The counters on both metrics ports equal the record.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; an error is one sentence."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    invalid = CODES[Decision.INVALID]
    with no_verdict(invalid), one_sentence(ServerError, invalid), one_sentence(code=USAGE):
        app(arguments)


if __name__ == "__main__":
    main()
