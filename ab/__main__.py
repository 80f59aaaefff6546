"""The command line: `python -m ab COMMAND`."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterator, Sequence
from importlib import import_module

import typer

from ab.errors import USAGE
from roberta_sentiment.tools.command_line import new_app, one_sentence

COMMANDS = {
    "run": "ab.run.cli",
    "plan": "ab.plan",
    "import": "ab.imported.cli",
    "label": "ab.label",
    "truth": "ab.run.truth",
    "report": "ab.report.cli",
    "compare": "ab.compare.cli",
}
"""Where each command is."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; an error is one sentence and exit code 2, as wrong usage is."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    with no_verdict(USAGE), one_sentence(code=USAGE):
        _app([name for name in COMMANDS if name in given[:1]] or [*COMMANDS])(given)


def _app(names: Sequence[str]) -> typer.Typer:
    """These commands only: the statistics, which not all of them need, take a second to import."""
    app = new_app("ab", "A/B tests behind Seldon Core.")
    for name in names:
        app.command(name)(import_module(COMMANDS[name]).command)
    return app


@contextlib.contextmanager
def no_verdict(code: int) -> Iterator[None]:
    """End with this code where the program fails: Python's own, 1, means a worse model."""
    try:
        yield
    except Exception:
        traceback.print_exc()
        sys.exit(code)


if __name__ == "__main__":
    main()
