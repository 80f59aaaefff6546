"""`predict`: scores of a few texts, or of the lines of standard input as they come."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from roberta_sentiment.model.artifact import locate, open_artifact
from roberta_sentiment.settings import Settings
from roberta_sentiment.text.check import check_text, printable
from roberta_sentiment.tools.command_line import warn
from roberta_sentiment.tools.options import HeadOption, ModelOption, TruncationOption
from roberta_sentiment.tools.rows import BadRow, Kind, Position, Row, open_source
from roberta_sentiment.tools.streams import STANDARD

if TYPE_CHECKING:
    from roberta_sentiment.classifier import Classifier, Predictions

_STANDARD = str(STANDARD)


def command(
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="Texts; none, or -, reads standard input, one text a line."),
    ] = None,
    model: ModelOption = None,
    truncation: TruncationOption = "end",
    head: HeadOption = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="A JSON object for each text, with all scores.")
    ] = False,
) -> None:
    """Print label and score of each text."""
    from roberta_sentiment.classifier import load_classifier

    artifact = open_artifact(*locate(str(model or "")))
    for position, text in enumerate(texts if texts and texts != [_STANDARD] else ()):
        check_text(position, text)
    classifier = load_classifier(
        artifact, Settings.read({"truncation": truncation, "head": head}, {})
    )
    if not texts or texts == [_STANDARD]:
        rows = open_source(STANDARD, kind="text").rows()
        if not _print_lines(classifier, rows, "jsonl" if as_json else "text"):
            raise typer.Exit(1)
    elif as_json:
        _print_lines(classifier, map(_row, texts), "jsonl")
    else:
        _print_table(classifier.classify(texts), texts)


def _print_table(predictions: Predictions, texts: Sequence[str]) -> None:
    table = Table("label", "score", "text")
    for i, text in enumerate(texts):
        for label, value in predictions.summary(i):
            table.add_row(Text(printable(label)), f"{value:.4f}", Text(printable(text)))
    Console().print(table)


def _row(text: str) -> Row:
    nowhere = Position(0, 0)
    return Row(nowhere, nowhere, {"text": text}, text, text.encode())


def _print_lines(classifier: Classifier, rows: Iterable[Row | BadRow], kind: Kind) -> bool:
    """A line for each row as soon as it is there; whether all could be scored.

    The lines are those that `score` writes; JSON of a bad row holds its text and the reason.
    """
    from roberta_sentiment.tools.score.run import check_row
    from roberta_sentiment.tools.score.sink import Sink, json_line

    sink = Sink(STANDARD, kind, ("text",), classifier.labels, head=classifier.head)
    all_good = True
    for row in rows:
        checked = check_row(row, classifier)
        if isinstance(checked, Row):
            line = sink.render([checked], classifier.classify([checked.text]))
        else:
            all_good = False
            warn(f"line {row.start.line + 1}: {checked.reason}")
            text = row.raw.decode("utf-8", "backslashreplace").rstrip("\r\n")
            line = json_line({"text": text, "error": checked.reason}) if kind == "jsonl" else b""
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
    return all_good
