"""Counters on the models' metrics ports, against the record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from prometheus_client.parser import text_string_to_metric_families

from ab.events import FeedbackState
from ab.record import Event

Cell = tuple[str, ...]

_FEEDBACK, _REQUESTS = "sentiment_feedback_total", "sentiment_answered_requests_total"


def compare(
    events: Sequence[Event], pages: Mapping[str, str], *, feedback: bool
) -> list[tuple[str, Cell, int, int]]:
    """Model, cell, count in the record, and count on the model's page of metrics.

    Args:
        events: of the record.
        pages: by model.
        feedback: compare feedback by truth and prediction; else answered requests.
    """
    recorded = confusion_of_feedback(events)
    if not feedback:
        answers = [e["model"] for e in events if e["event"] == "request" and e["predicted"]]
        recorded = {model: Counter({("answered",): answers.count(model)}) for model in pages}
    compared = []
    for model, page in pages.items():
        ours, counted = recorded.get(model, Counter()), read_counters(page, feedback=feedback)
        compared += [(model, cell, ours[cell], counted[cell]) for cell in sorted({*ours, *counted})]
    return compared


def confusion_of_feedback(events: Iterable[Event]) -> dict[str, Counter[Cell]]:
    """By model, what its feedback counters must show: each feedback that it took, once."""
    tables: dict[str, Counter[Cell]] = {}
    counted: set[str] = set()
    for event in events:
        if event["event"] != "feedback" or event["state"] != FeedbackState.ANSWERED:
            continue
        if event["id"] not in counted and event["model"] is not None:
            counted.add(event["id"])
            confusion = tables.setdefault(event["model"], Counter())
            confusion[event["truth"], event["predicted"]] += 1
    return tables


def read_counters(page: str, *, feedback: bool) -> Counter[Cell]:
    """Feedback by truth and prediction, or answered requests, summed over all workers."""
    table: Counter[Cell] = Counter()
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if feedback and sample.name == _FEEDBACK:
                cell = (sample.labels["truth"], sample.labels["prediction"])
                table[cell] += int(sample.value)
            elif not feedback and sample.name == _REQUESTS:
                table["answered",] += int(sample.value)
    return table
