"""Counts of feedback on the models' metrics ports against those of the record."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

from prometheus_client.parser import text_string_to_metric_families

from ab.observations import Confusion

_COUNTER = "sentiment_feedback_total"


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell of a model's confusion table.

    Attributes:
        model: name.
        truth: label.
        predicted: label.
        recorded: feedbacks in the record.
        counted: what the model's metrics port says.
    """

    model: str
    truth: str
    predicted: str
    recorded: int
    counted: int

    @property
    def agrees(self) -> bool:
        """Whether both are the same."""
        return self.recorded == self.counted


def read_confusion(page: str) -> Confusion:
    """The feedback that a node has counted, by truth and prediction, over all its workers."""
    table: Confusion = Counter()
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name == _COUNTER:
                labels = sample.labels
                table[labels["truth"], labels["prediction"]] += int(sample.value)
    return table


def compare(
    recorded: Mapping[str, Confusion], pages: Mapping[str, str], labels: Sequence[str]
) -> list[Cell]:
    """Every cell of every model.

    Args:
        recorded: confusion by model, from the record.
        pages: of metrics, by model.
        labels: names of the classes.
    """
    cells = []
    for model, page in pages.items():
        counted = read_confusion(page)
        table = recorded.get(model, Counter())
        cells += [
            Cell(model, truth, predicted, table[truth, predicted], counted[truth, predicted])
            for truth in labels
            for predicted in labels
        ]
    return cells
