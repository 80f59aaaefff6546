"""What one model said of every text, from a record."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ab.errors import AnalysisError
from ab.observations import observe
from ab.record import read_record


@dataclasses.dataclass(frozen=True)
class Said:
    """One answer.

    Attributes:
        sha256: of the text.
        text: the review; None when the record holds none.
        truth: label; None when it is not known.
        predicted: label.
        score: of the predicted label, 0..1.
        latency_s: of the try that was answered, s.
    """

    sha256: str
    text: str | None
    truth: str | None
    predicted: str
    score: float
    latency_s: float


@dataclasses.dataclass(frozen=True)
class Side:
    """One model's answers.

    Attributes:
        name: of the model.
        said: answer by id of the review, in the order in which they were recorded.
        lost: ids without an answer.
    """

    name: str
    said: Mapping[str, Said]
    lost: tuple[str, ...]


def said_in(line: Mapping[str, Any], truth: str | None) -> Said:
    """The answer in a `request` line."""
    return Said(
        sha256=line["sha256"],
        text=line.get("text"),
        truth=truth,
        predicted=line["predicted"],
        score=line["scores"][line["predicted"]],
        latency_s=line["latency_s"],
    )


def of_record(path: Path) -> Side:
    """Read the answers of a record in which one model answered everything.

    Raises:
        RecordError: it is no record of one run.
        AnalysisError: it holds no answer, or those of several models.
    """
    seen = observe(read_record(path))
    models = sorted({str(o.model) for o in seen.answered})
    if len(models) != 1:
        raise AnalysisError(
            f"{path.name} holds answers of {len(models)} models ({', '.join(models)}); "
            "to compare text by text, each record must be of one"
        )
    said = {o.id: said_in(o.line, o.truth) for o in seen.answered}
    return Side(models[0], said, seen.lost)
