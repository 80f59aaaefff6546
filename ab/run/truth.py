"""Truths that come after the answers: matched to the record, sent back as feedback."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from ab.clock import Clock
from ab.data import Truth
from ab.errors import DataError
from ab.events import FeedbackState, truth
from ab.observations import feedback_states, truths_of
from ab.record import Event, Journal
from ab.run.feedback import FeedbackSender
from ab.transport.reply import Outcome


@dataclasses.dataclass(frozen=True)
class Matched:
    """A truth and the answer it is about.

    Attributes:
        line: the request line.
        label: truth.
        text: of the review, when the file of truths or the record has it.
        is_new: whether the record does not hold this truth yet.
        is_due: whether its feedback is still to be sent.
        rate: probability with which the truth was sought; None where nothing says it.
    """

    line: Event
    label: str
    text: str | None
    is_new: bool
    is_due: bool
    rate: float | None = None


def match(truths: Sequence[Truth], events: Sequence[Event]) -> tuple[list[Matched], list[Truth]]:
    """Find the answers that truths are about: by id, else by text.

    A text that was sent under several ids gives all of them its truth. A truth that the record
    has already changes nothing.

    Returns:
        The matched, and the truths that fit no answer.

    Raises:
        DataError: a truth contradicts another one of the same review, or is of another text.
    """
    lines: dict[str, Event] = {}
    for event in events:
        if event["event"] == "request" and event["outcome"] == Outcome.ANSWERED:
            lines.setdefault(event["id"], event)
    by_text: Mapping[str, list[str]] = defaultdict(list)
    for identity, line in lines.items():
        by_text[line["sha256"]].append(identity)
    known, states = truths_of(events)[0], feedback_states(events)
    recorded = frozenset(known)
    matched: dict[str, Matched] = {}
    unmatched = []
    for item in truths:
        named = item.id is not None and [item.id, item.id.removesuffix("#0")]
        found = list(dict.fromkeys(named or by_text.get(item.sha256 or "", [])))
        found = [identity for identity in found if identity in lines]
        if not found:
            unmatched.append(item)
        for identity in found:
            _agree(identity, item.label, known)
            line = lines[identity]
            if item.sha256 not in (None, line["sha256"]) and line["sha256"]:
                raise DataError(f"review {identity} is another text in the file than in the record")
            matched[identity] = Matched(
                line,
                item.label,
                item.text or line.get("text"),
                is_new=identity not in recorded,
                is_due=states.get(identity) in (None, FeedbackState.REFUSED),
                rate=item.rate,
            )
    return list(matched.values()), unmatched


def deliver(
    matched: Sequence[Matched],
    journal: Journal,
    clock: Clock,
    sender: FeedbackSender | None,
) -> Counter[str]:
    """Record the truths, and send what is due.

    Returns:
        Counts: `recorded`, and feedbacks by `feedback STATE`.
    """
    counts: Counter[str] = Counter()
    for item in matched:
        if clock.stop.is_set():
            break
        if item.is_new:
            journal.append(truth(clock.now(), item.line["id"], item.label, item.rate))
            counts["recorded"] += 1
        if sender is not None and item.is_due:
            counts[f"feedback {sender.send(item.line, item.label, item.text)}"] += 1
    return counts


def _agree(identity: str, label: str, known: dict[str, str]) -> None:
    earlier = known.setdefault(identity, label)
    if earlier != label:
        raise DataError(
            f"review {identity} is {earlier} already, and now {label}; nothing was sent"
        )
