"""The command line: `python -m roberta_sentiment COMMAND`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import typer

from roberta_sentiment import settings as settings_module
from roberta_sentiment.tools import convert, optimize, predict, quantize
from roberta_sentiment.tools.command_line import interrupted, new_app, one_sentence
from roberta_sentiment.tools.evaluate import cli as evaluate
from roberta_sentiment.tools.fetch import cli as fetch
from roberta_sentiment.tools.score import cli as score
from roberta_sentiment.tools.verify import cli as verify

app = new_app("roberta-sentiment", "RoBERTa sentiment, offline.")

_AFTER_INTERRUPT = {
    "fetch": "run the same command again to resume",
    "score": "run the same command again to resume",
    "verify": "not all checks were run",
    "predict": "not all texts were scored",
}
"""What an interrupted command leaves behind; the others write all or nothing."""


@app.command("settings")
def show_settings() -> None:
    """Print the table of settings as Markdown."""
    typer.echo(settings_module.markdown_table(), nl=False)


def _interruptible(command: Callable[..., None], name: str) -> Callable[..., None]:
    """A command that ends on Ctrl-C with a sentence and the shell's exit code."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt:
            raise interrupted(_AFTER_INTERRUPT.get(name, "nothing was written")) from None

    return run


_TOOLS: dict[str, Callable[..., None]] = {
    "predict": predict.command,
    "fetch": fetch.command,
    "convert": convert.command,
    "verify": verify.command,
    "evaluate": evaluate.command,
    "quantize": quantize.command,
    "optimize": optimize.command,
    "score": score.command,
}
for name, command in _TOOLS.items():
    app.command(name)(_interruptible(command, name))


def main() -> None:
    """Run a command; an error of ours is one sentence and exit code 1."""
    with one_sentence():
        app()


if __name__ == "__main__":
    main()
