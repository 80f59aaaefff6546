"""Our node with one part of it taken out. Environment: WITHOUT names the part."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from Model import Model
from roberta_sentiment.model import derived as _derived
from roberta_sentiment.run import batching as _batching
from roberta_sentiment.run import scheduler as _scheduler
from roberta_sentiment.serving import health as _health

batching: Any = _batching
derived: Any = _derived
scheduler: Any = _scheduler
health: Any = _health
"""As values, whose names may be replaced."""


def _one_run_at_a_time() -> None:
    shipped = derived.Prepared
    derived.Prepared = lambda session, kind, parallel_session=None: shipped(session, kind)


def _one_text_a_run() -> None:
    batching.fits = lambda *_, **__: False


def _urgent_batches() -> None:
    scheduler._NICENESS = 0


def _collected_start() -> None:
    health.gc = SimpleNamespace(freeze=lambda: None)


PARTS: dict[str, Callable[[], None]] = {
    "runs side by side": _one_run_at_a_time,
    "several texts a run": _one_text_a_run,
    "batches that yield the CPU": _urgent_batches,
    "a start spared by the collector": _collected_start,
}


class WithoutModel(Model):
    """As served, but for the part."""

    def load(self) -> None:
        """Take the part out, then load."""
        PARTS[os.environ["WITHOUT"]]()
        super().load()
