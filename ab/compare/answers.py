"""What one model answered to every text, from a record."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd

from ab.errors import AnalysisError
from ab.observations import observe
from ab.record import read_record


@dataclasses.dataclass(frozen=True)
class ModelAnswers:
    """One model's answers.

    Attributes:
        name: of the model.
        answers: see `ab.observations.table`.
    """

    name: str
    answers: pd.DataFrame


def read_answers(path: Path) -> ModelAnswers:
    """Read the answers of a record in which one model answered everything.

    Raises:
        RecordError: it is not a record of one run.
        AnalysisError: it holds no answer, or those of several models.
    """
    answers = observe(read_record(path)).answered
    models = sorted({str(model) for model in answers.model})
    if len(models) != 1:
        raise AnalysisError(
            f"{path.name} holds answers of {len(models)} models ({', '.join(models)}); "
            "to compare text by text, each record must be of one"
        )
    return ModelAnswers(models[0], answers)
