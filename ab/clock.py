"""The clock of a run, which tests replace by one that need not wait."""

from __future__ import annotations

import datetime
import threading
import time


class Clock:
    """The machine's clock.

    Attributes:
        stop: set from outside when the run is to stop; it ends every sleep.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()

    def monotonic(self) -> float:
        """Seconds from some fixed moment."""
        return time.monotonic()

    def now(self) -> str:
        """Date and time of day, UTC, ISO 8601."""
        return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")

    def sleep(self, seconds: float) -> None:
        """Wait, or until the run is stopped."""
        self.stop.wait(max(0.0, seconds))
