"""What the command lines of this repository have in common: help, version, and how they end."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console

from roberta_sentiment.errors import SentimentError
from roberta_sentiment.text.check import printable
from roberta_sentiment.version import __version__

INTERRUPTED = 130
"""The shell's exit code of a program that Ctrl-C has ended."""


def _show_version(context: typer.Context, asked: bool) -> None:
    if asked:
        typer.echo(f"{context.command.name} {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Options of a program, before its command."""


def new_app(name: str, description: str) -> typer.Typer:
    """An app with `--version` and shell completion.

    Its usage errors are boxes on a terminal, and plain lines in a pipe or a log.
    """
    app = typer.Typer(
        name=name,
        no_args_is_help=True,
        rich_markup_mode="rich" if sys.stderr.isatty() else None,
        pretty_exceptions_enable=False,
    )
    app.callback(help=description)(_options)
    return app


@contextlib.contextmanager
def one_sentence(kind: type[Exception] = SentimentError, code: int = 1) -> Iterator[None]:
    """End the program with this exit code and one sentence for an error of ours, or of this kind.

    A library that is not installed is one, too.
    """
    try:
        yield
    except (SentimentError, kind) as error:
        _fail(str(error), code)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "roberta_sentiment", "ab"):
            raise
        _fail(f"this command needs {package}, which is not installed: pip install '.[tools]'", code)


def warn(message: str) -> None:
    """Tell the user something that is not a result."""
    _print(message, "yellow")


def interrupted(message: str) -> typer.Exit:
    """The end after Ctrl-C."""
    _print(f"interrupted; {message}", "red")
    return typer.Exit(INTERRUPTED)


def _fail(message: str, code: int) -> None:
    _print(f"error: {message}", "red")
    sys.exit(code)


def _print(message: str, style: str) -> None:
    console = Console(stderr=True, soft_wrap=True, markup=False, highlight=False)
    console.print(printable(message), style=style)
