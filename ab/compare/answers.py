"""What one model answered to every text, from a record."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from ab.errors import AnalysisError
from ab.observations import Observation, observe
from ab.record import read_record


@dataclasses.dataclass(frozen=True)
class ModelAnswers:
    """One model's answers.

    Attributes:
        name: of the model.
        answers: by id of the review, in the order in which they were recorded.
    """

    name: str
    answers: Mapping[str, Observation]


def read_answers(path: Path) -> ModelAnswers:
    """Read the answers of a record in which one model answered everything.

    Raises:
        RecordError: it is not a record of one run.
        AnalysisError: it holds no answer, or those of several models.
    """
    seen = observe(read_record(path))
    models = sorted({str(o.model) for o in seen.answered})
    if len(models) != 1:
        raise AnalysisError(
            f"{path.name} holds answers of {len(models)} models ({', '.join(models)}); "
            "to compare text by text, each record must be of one"
        )
    return ModelAnswers(models[0], {o.id: o for o in seen.answered})
