"""What a run needs to know."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from ab.attribution import Graph


@dataclasses.dataclass(frozen=True)
class Pace:
    """How fast to send.

    Attributes:
        rate: requests a second; 0 is as fast as possible.
        concurrency: requests at once.
        give_up_after: requests lost in a row, at which the run stops; 0 never stops.
    """

    rate: float = 0.0
    concurrency: int = 4
    give_up_after: int = 20


@dataclasses.dataclass(frozen=True)
class Reward:
    """What a model gets for an answer; a plain Seldon wrapper does not count a 0."""

    right: float = 1.0
    wrong: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What a run needs to know; what its record keeps is said in `ab.events.Run`.

    Attributes:
        reviews: file of reviews.
        text_column, label_column: of that file; empty: found by their usual names.
        record: file of the record.
        endpoint: address.
        headers: NAME=VALUE, sent with every request; they are not recorded.
        graph: behind it.
        label_map: what other names in reviews and answers stand for.
        pace: how fast to send.
        limit: reviews at most; None is all.
        feedback: whether truths are sent back; never in V2, which has no way for them.
        reward: sent with them.
        resume: go on with the record.
        retry_lost: when resuming, send again what had no answer.
    """

    reviews: Path
    text_column: str = ""
    label_column: str = ""
    record: Path
    endpoint: str
    headers: Sequence[str] = ()
    graph: Graph
    labels: Sequence[str]
    label_map: Mapping[str, str] = dataclasses.field(default_factory=dict)
    pace: Pace = Pace()
    timeout_s: float = 10.0
    tries: int = 4
    seed: int = 13
    limit: int | None = None
    feedback: bool = True
    reward: Reward = Reward()
    keep_texts: bool = False
    resume: bool = False
    retry_lost: bool = False
