"""The command line of `fetch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from roberta_sentiment.tools.command_line import warn
from roberta_sentiment.tools.fetch.download import MAX_BYTES
from roberta_sentiment.tools.options import NameOption, ReplaceOption
from roberta_sentiment.tools.target import next_command


def command(
    source: Annotated[
        str,
        typer.Argument(
            help="zoo (the published model), hf:organisation/name[@revision], an http(s) address "
            "of a .onnx, .safetensors or .tar.gz, or a local file or directory."
        ),
    ],
    target: Annotated[Path, typer.Argument(help="Model directory to write.")],
    sha256: Annotated[
        str, typer.Option(help="What the graph, the weights or the archive must have.")
    ] = "",
    tokenizer: Annotated[
        str,
        typer.Option(
            help="Local directory or hf:organisation/name with tokenizer and config.json, for a "
            "source that has none."
        ),
    ] = "",
    file: Annotated[
        str, typer.Option(help="Path of the graph at a source with several, or of the weights.")
    ] = "",
    include_pytorch: Annotated[
        bool,
        typer.Option(
            "--include-pytorch", help="Also fetch pickles, which can run code when they are read."
        ),
    ] = False,
    max_bytes: Annotated[
        int,
        typer.Option(help="Limit for a file whose size its server does not say.", min=1),
    ] = MAX_BYTES,
    replace: ReplaceOption = False,
    name: NameOption = "",
    licence: Annotated[str, typer.Option(help="By default as the source states it.")] = "",
) -> None:
    """Fetch a model into a model directory; after a failure the same command resumes."""
    from roberta_sentiment.tools.fetch.run import Options, fetch

    options = Options(
        sha256.lower(), tokenizer, file, include_pytorch, max_bytes, replace, name, licence
    )
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    name_column = TextColumn("{task.description}", markup=False)
    with Progress(name_column, *columns, console=Console(stderr=True)) as progress:
        fetched = fetch(source, target, options, progress)
    if fetched.refused:
        warn(f"warning: a server would not start with it: {fetched.refused}")
    following = (
        next_command("verify", target)
        if fetched.is_graph
        else next_command("convert", target, target.with_name(f"{target.name}-onnx"))
    )
    typer.echo(
        f"{target}: {fetched.main}, {fetched.precision}, sha256 {fetched.sha256}\nnext: {following}"
    )
