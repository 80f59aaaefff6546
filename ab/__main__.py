"""The command line: `python -m ab COMMAND`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

import typer
from rich.console import Console

from ab.errors import ABError
from roberta_sentiment.errors import StartError

COMMANDS = {
    "run": "ab.run.cli",
    "truth": "ab.run.truth_cli",
    "rehearse": "ab.rehearsal.cli",
    "report": "ab.report.cli",
    "compare": "ab.compare.cli",
}
"""Where each command is."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; an error of ours is one sentence and exit code 1."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _app([name for name in COMMANDS if name in given[:1]] or [*COMMANDS])(given)
    except (ABError, StartError) as error:
        console = Console(stderr=True, soft_wrap=True, markup=False, highlight=False)
        console.print(f"error: {error}", style="red")
        sys.exit(1)


def _app(names: Sequence[str]) -> typer.Typer:
    """These commands only: the statistics, which not all of them need, take a second to import."""
    app = typer.Typer(add_completion=False, no_args_is_help=True)
    app.callback(help="A/B tests behind Seldon Core.")(lambda: None)
    for name in names:
        app.command(name)(import_module(COMMANDS[name]).command)
    return app


if __name__ == "__main__":
    main()
