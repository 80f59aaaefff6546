"""Records as `ab run` writes them, with answers whose right and wrong are known."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ab.events import Request, Run
from ab.record import Event, Journal

LABELS = ("negative", "positive")
START = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)


def run_line(reviews: int, shares: dict[str, float], **changed: Any) -> Event:
    """The first line of a record."""
    fields: dict[str, Any] = {
        "run": "r1",
        "time": moment(0),
        "endpoint": "http://127.0.0.1:8000",
        "data": {"name": "reviews.tsv", "sha256": "0" * 64, "reviews": reviews},
        "labels": list(LABELS),
        "models": [{"name": name, "share": share} for name, share in shares.items()],
        "router": None,
        "seed": 1,
        "rate": 10.0,
        "concurrency": 4,
        "timeout_s": 2.0,
        "tries": 3,
        "feedback": False,
        "keep_texts": True,
    }
    return Run(**{**fields, **changed}).event()


def answer(number: int, model: str | None, *, right: bool = True, **changed: Any) -> Event:
    """A request that was answered: truth is positive for odd numbers, the score is 0.9."""
    truth = LABELS[number % 2]
    predicted = truth if right else LABELS[1 - number % 2]
    fields: dict[str, Any] = {
        "time": moment(number),
        "id": f"{number:06d}",
        "puid": f"r1-{number}",
        "sha256": f"{number:064d}",
        "text": f"review {number}",
        "truth": truth,
        "outcome": "answered",
        "status": "200",
        "detail": "",
        "tries": 1,
        "repeated": 0,
        "late": False,
        "lag_s": 0.0,
        "latency_s": 0.010 + number % 7 * 0.001,
        "waited_s": 0.02,
        "model": model,
        "by": "requestPath",
        "predicted": predicted,
        "scores": {label: 0.9 if label == predicted else 0.1 for label in LABELS},
    }
    return Request(**{**fields, **changed}).event()


def failure(number: int, outcome: str, **changed: Any) -> Event:
    """A request that nobody answered."""
    nothing: dict[str, Any] = {"predicted": None, "scores": {}, "latency_s": None, "by": ""}
    failed = [failed_try(outcome)]
    return answer(
        number, None, **{"outcome": outcome, "status": "", "failed": failed, **nothing, **changed}
    )


def failed_try(outcome: str, model: str | None = None) -> dict[str, str | None]:
    """A try that brought no answer."""
    return {"outcome": outcome, "status": "", "detail": "", "model": model}


def simulated(
    n: int, accuracies: dict[str, float], share_b: float = 0.5, seed: int = 1
) -> list[Event]:
    """A run of two models with these accuracies: the first line and n answers."""
    rng = np.random.default_rng(seed)
    names = list(accuracies)
    events = [run_line(n, dict(zip(names, (1 - share_b, share_b), strict=True)))]
    for number in range(n):
        model = names[int(rng.random() < share_b)]
        events.append(answer(number, model, right=bool(rng.random() < accuracies[model])))
    return events


def write(path: Path, events: Iterable[Event]) -> Path:
    """The record as a file."""
    with Journal(path) as journal:
        for event in events:
            journal.append(event)
    return path


def moment(second: float) -> str:
    """Time of day in the run."""
    return (START + datetime.timedelta(seconds=second)).isoformat(timespec="milliseconds")
