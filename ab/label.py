"""The command `label`: which texts are worth a truth, for the terminal or for an annotator."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.console import Console
from rich.prompt import Prompt

from ab.clock import Clock
from ab.compare.analysis import share_texts
from ab.compare.answers import read_answers
from ab.data import fingerprint
from ab.errors import AnalysisError
from ab.events import truth
from ab.observations import observe, run_of
from ab.options import Seed
from ab.record import Journal, read_record
from roberta_sentiment.tools.labelled import TextColumnOption, read_texts

_SKIP, _QUIT = "skip", "quit"


def command(
    record: Annotated[Path, typer.Argument(help="Record to which the truths are added.")],
    other: Annotated[
        Path | None, typer.Argument(help="Record of another model that judged the same texts.")
    ] = None,
    number: Annotated[int, typer.Option(help="Texts to label, all together.", min=1)] = 300,
    random_part: Annotated[
        int, typer.Option("--random", help="Of them, texts that both models label alike.", min=0)
    ] = 0,
    reviews: Annotated[
        Path | None, typer.Option(help="Where to find the texts, if the record keeps none.")
    ] = None,
    text_column: TextColumnOption = "",
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="File for an annotator, then for `ab truth`.")
    ] = None,
    seed: Seed = 13,
) -> None:
    """Choose texts at random whose truth is worth most, and ask for it.

    Of two records: texts that the models label differently, since no other one can move the
    difference of their accuracies. Of one record: any texts.
    """
    labels = run_of(read_record(record))["labels"]
    read = read_texts(reviews, text_column=text_column) if reviews else []
    texts = {fingerprint(text): text for text in read}
    if other is None:
        found = observe(read_record(record)).answered
        parts = [(found[found.truth.isna()], number)]
    else:
        one = read_answers(record)
        found, shared = one.answers, share_texts(one, read_answers(other), {})
        open_ones, differs = shared.truth.isna(), shared.a != shared.b
        parts = [
            (found.loc[shared.id[open_ones & differs]], max(0, number - random_part)),
            (found.loc[shared.id[open_ones & ~differs]], random_part),
        ]
    rows = choose(parts, texts, seed)
    if not rows:
        raise AnalysisError("no text that is worth a label lacks one")
    console = Console(highlight=False, markup=False)
    if csv_file:
        pd.DataFrame(rows).to_csv(csv_file, index=False)
        console.print(
            f"{len(rows):,} texts are in {csv_file.name}; when the column `label` is filled in: "
            f"python -m ab truth {record.name} {csv_file.name} --no-feedback"
        )
    else:
        console.print(f"{ask(rows, labels, record, console):,} of {len(rows):,} texts labelled")


def choose(
    parts: Sequence[tuple[pd.DataFrame, int]], texts: Mapping[str, str], seed: int
) -> list[dict[str, str]]:
    """Rows for the annotator in an order that tells nothing, without what the models said.

    Args:
        parts: answers (see `ab.observations.table`) and how many of them to choose.
        texts: by checksum, for records that keep none.
        seed: of the choice.

    Raises:
        AnalysisError: the text of a chosen one is not known.
    """
    rng, rows = random.Random(seed), []  # noqa: S311  reproducible, not secret
    for answers, wanted in parts:
        chosen = rng.sample(range(len(answers)), min(wanted, len(answers)))
        for each in answers.iloc[chosen].itertuples():
            text = each.text or texts.get(each.sha256)
            if text is None:
                raise AnalysisError(
                    f"the record does not keep the text of {each.id}; name a file that has it "
                    "(--reviews)"
                )
            rate = f"{len(chosen) / len(answers):.6g}"
            rows.append({"id": each.id, "text": text, "label": "", "rate": rate})
    rng.shuffle(rows)
    return rows


def ask(
    rows: Sequence[Mapping[str, str]], labels: Sequence[str], record: Path, console: Console
) -> int:
    """Ask for the truth of each text and add it to the record; how many were given."""
    names = {**{str(i): label for i, label in enumerate(labels)}, **{each: each for each in labels}}
    given = 0
    with Journal(record) as journal:
        for number, row in enumerate(rows, 1):
            console.print(f"\n{number} of {len(rows)}: {row['text']}")
            word = Prompt.ask(
                ", ".join(f"{i} {label}" for i, label in enumerate(labels)) + f", {_SKIP}, {_QUIT}",
                choices=[*names, _SKIP, _QUIT],
                show_choices=False,
                console=console,
            )
            if word == _QUIT:
                break
            if word != _SKIP:
                rate = float(row["rate"])
                journal.append(truth(Clock().now(), row["id"], names[word], rate), durable=True)
                given += 1
    return given
