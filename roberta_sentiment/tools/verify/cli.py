"""The command line of `verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from roberta_sentiment.settings import Settings
from roberta_sentiment.text.check import printable
from roberta_sentiment.tools.options import HeadOption
from roberta_sentiment.tools.output import write_json
from roberta_sentiment.tools.verify.result import Result, Status
from roberta_sentiment.tools.verify.run import CHECKS, verify

_STYLES = {Status.PASSED: "green", Status.FAILED: "bold red", Status.SKIPPED: "yellow"}


def command(
    model: Annotated[Path, typer.Argument(help="Model directory.")],
    head: HeadOption = "auto",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File for the results, for a program.")
    ] = None,
) -> None:
    """Check a model directory; exit code 1 if a check fails."""
    errors, results = Console(stderr=True, soft_wrap=True), {}
    with errors.status("checking") as status:
        for name, result in verify(model, Settings.read({"head": head}, {})):
            results[name] = result
            status.update(f"{len(results)} of {len(CHECKS)} checks")
    Console().print(_table(results))
    if json_file is not None:
        write_json(json_file, _as_json(model, results))
    failures = [name for name, result in results.items() if result.status is Status.FAILED]
    if failures:
        errors.print(f"{model} fails: {', '.join(failures)}", style="red", markup=False)
        raise typer.Exit(1)


def _table(results: dict[str, Result]) -> Table:
    table = Table("check", "result", "what was seen")
    for name, result in results.items():
        style = _STYLES[result.status]
        table.add_row(name, Text(str(result.status), style), Text(printable(result.message)))
    return table


def _as_json(model: Path, results: dict[str, Result]) -> dict[str, Any]:
    return {
        "model": str(model),
        "passed": all(result.status is not Status.FAILED for result in results.values()),
        "checks": [
            {
                "name": name,
                "status": result.status,
                "message": result.message,
                "facts": dict(result.facts),
            }
            for name, result in results.items()
        ],
    }
