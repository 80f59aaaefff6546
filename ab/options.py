"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from roberta_sentiment.errors import DataError

Labels = Annotated[
    str, typer.Option("--labels", help="Names of the classes, in the order of their indices.")
]
Limit = Annotated[int | None, typer.Option(help="Reviews at most.", min=1)]
Seed = Annotated[int, typer.Option(help="Of the order of the reviews.")]
Concurrency = Annotated[int, typer.Option(help="Requests at once.", min=1, max=1024)]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for an answer.", min=0.1)]
Tries = Annotated[int, typer.Option(help="Tries for one answer.", min=1, max=20)]
Headers = Annotated[
    list[str] | None,
    typer.Option("--header", help="NAME=VALUE to send with every request, such as Host=..."),
]
Manifest = Annotated[
    Path | None, typer.Option(help="Take models, shares and router from its RANDOM_ABTEST.")
]
Router = Annotated[
    str | None, typer.Option(help="Graph node that chooses, if the answers do not show it.")
]
KeepTexts = Annotated[
    bool, typer.Option(help="Keep the texts in the record; else only a checksum.")
]
RewardRight = Annotated[float, typer.Option(help="Reward of a right answer.")]
RewardWrong = Annotated[float, typer.Option(help="Reward of a wrong answer.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="File for all figures as JSON.")]
HtmlFile = Annotated[Path | None, typer.Option("--html", help="File for a page with plots.")]
Margin = Annotated[
    float, typer.Option(help="Smallest difference in accuracy that matters.", min=0, max=0.5)
]
Alpha = Annotated[float, typer.Option(help="False alarm rate over all looks.", min=0.0001, max=0.5)]

LABELS = "negative,positive"


def parse_labels(given: str) -> tuple[str, ...]:
    """The names in a list with commas.

    Raises:
        DataError: they are fewer than two, or not all different.
    """
    labels = tuple(label.strip() for label in given.split(","))
    if len(labels) < 2 or not all(labels) or len(set(labels)) < len(labels):
        raise DataError(f"--labels is {given!r}; two or more different names are needed")
    return labels
