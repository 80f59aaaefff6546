"""`optimize`: the optimised file of a model, made before a server needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from roberta_sentiment.model.artifact import open_artifact
from roberta_sentiment.model.derived import default_roots
from roberta_sentiment.model.optimize import optimize


def command(
    model: Annotated[Path, typer.Argument(help="Model directory.")],
    cache: Annotated[
        Path | None,
        typer.Option(help="Where to keep the file; by default where servers of this user look."),
    ] = None,
) -> None:
    """Prepare the file that servers on this kind of CPU open."""
    artifact = open_artifact(model)
    roots = [cache] if cache else default_roots()
    kept = optimize(artifact, roots)
    size = sum(path.stat().st_size for path in kept.iterdir())
    typer.echo(f"{kept} holds {size / 1e6:.1f} MB")
