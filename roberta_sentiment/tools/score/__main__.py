"""`python -m roberta_sentiment.tools.score`."""

import sys

import typer
from rich.console import Console

from roberta_sentiment.errors import SentimentError
from roberta_sentiment.text.check import printable
from roberta_sentiment.tools.score import command

if __name__ == "__main__":
    try:
        typer.run(command)
    except SentimentError as error:
        Console(stderr=True, soft_wrap=True).print(
            f"error: {printable(error.message)}", style="red", markup=False
        )
        sys.exit(1)
