"""Time, in one place, so that tests need not wait."""

from __future__ import annotations

import datetime
import threading
import time
from typing import Protocol


class Clock(Protocol):
    """What tells the time and lets it pass."""

    def monotonic(self) -> float:
        """Seconds from some fixed moment."""

    def now(self) -> str:
        """Date and time of day, UTC, ISO 8601."""

    def sleep(self, seconds: float) -> None:
        """Wait; returns early when the run is stopped."""


class SystemClock:
    """The machine's clock.

    Args:
        stop: ends every wait.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def monotonic(self) -> float:
        """Seconds from some fixed moment."""
        return time.monotonic()

    def now(self) -> str:
        """Date and time of day, UTC, ISO 8601."""
        return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")

    def sleep(self, seconds: float) -> None:
        """Wait, or until the run is stopped."""
        self._stop.wait(max(0.0, seconds))
