"""`optimize`: the file that a server on this CPU opens, made beforehand."""

from __future__ import annotations

import re
from pathlib import Path

import typer
from typer.testing import CliRunner

from roberta_sentiment.model.artifact import open_artifact
from roberta_sentiment.model.derived import OPTIMIZED, open_prepared
from roberta_sentiment.tools.optimize import command
from tests import zoo


def test_a_server_finds_what_the_command_has_kept(tmp_path: Path) -> None:
    """The command names the place and the size, and the next server opens the file."""
    model = zoo.write(tmp_path / "model")
    cache = tmp_path / "cache"
    app = typer.Typer()
    app.command()(command)
    done = CliRunner().invoke(app, [str(model), "--cache", str(cache)])
    assert 0 == done.exit_code, done.output
    (kept,) = cache.iterdir()
    assert re.fullmatch(rf"{re.escape(str(kept))} holds [\d.]+ MB\n", done.stdout)
    prepared = open_prepared(open_artifact(model), threads=1, roots=[cache])
    assert OPTIMIZED == prepared.kind
