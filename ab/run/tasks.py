"""What is left to do of a run, from its record."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ab.data import Review
from ab.errors import RecordError
from ab.events import FeedbackState
from ab.observations import feedback_states, first_answers
from ab.record import Event

_FIXED = ("endpoint", "data", "labels", "models", "router", "seed", "feedback")


@dataclasses.dataclass(frozen=True)
class Task:
    """One review to send, or one answer whose feedback is still due.

    Attributes:
        review: as in the file.
        line: its request line, when it has been answered already.
        rounds: how often it was sent in earlier sessions.
    """

    review: Review
    line: Event | None = None
    rounds: int = 0


def tasks_left(
    reviews: Sequence[Review], events: Sequence[Event], *, feedback: bool, retry_lost: bool = False
) -> list[Task]:
    """The tasks left, in the order of the reviews.

    A feedback that has been `sending` is not due: nobody knows whether it arrived.

    Args:
        reviews: of the whole run, in its order.
        events: of the record.
        feedback: whether truths are sent back.
        retry_lost: send again what ended without an answer.
    """
    lines = first_answers(events)
    asked = {e["id"] for e in events if e["event"] == "request"}
    states = feedback_states(events)
    rounds = Counter(e["id"] for e in events if e["event"] == "sent")
    tasks = []
    for review in reviews:
        line = lines.get(review.id)
        if line is not None:
            if feedback and review.label and states.get(review.id) in (None, FeedbackState.REFUSED):
                tasks.append(Task(review, line))
        elif retry_lost or review.id not in asked:
            tasks.append(Task(review, rounds=rounds[review.id]))
    return tasks


def check_same(
    recorded: Mapping[str, Any], given: Mapping[str, Any], fixed: Sequence[str] = _FIXED
) -> None:
    """Refuse to go on with a record under other settings.

    Args:
        recorded, given: fields of a `run` line.
        fixed: those that must be the same.

    Raises:
        RecordError: naming the settings that differ.
    """
    differing = [name for name in fixed if recorded.get(name) != given[name]]
    if differing:
        changes = "; ".join(f"{n} was {recorded[n]!r}, now {given[n]!r}" for n in differing)
        raise RecordError(f"the record is of another run: {changes}")
