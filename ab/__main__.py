"""The command line: `python -m ab COMMAND`."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from ab.compare import cli as compare
from ab.errors import ABError
from ab.rehearsal import cli as rehearsal
from ab.report import cli as report
from ab.run import cli as run
from ab.run import truth_cli as truth
from roberta_sentiment.errors import StartError

app = typer.Typer(add_completion=False, no_args_is_help=True, help="A/B tests behind Seldon Core.")


app.command("run")(run.command)
app.command("truth")(truth.command)
app.command("rehearse")(rehearsal.command)
app.command("report")(report.command)
app.command("compare")(compare.command)


def main() -> None:
    """Run a command; an error of ours is one sentence and exit code 1."""
    try:
        app()
    except (ABError, StartError) as error:
        Console(stderr=True, soft_wrap=True).print(f"error: {error}", style="red", markup=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
