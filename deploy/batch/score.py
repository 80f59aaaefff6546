"""What spark-submit starts: the arguments are those of `python -m roberta_sentiment score`."""

import typer

from roberta_sentiment.tools.command_line import one_sentence
from roberta_sentiment.tools.score.cli import command

if __name__ == "__main__":
    with one_sentence():
        typer.run(command)
