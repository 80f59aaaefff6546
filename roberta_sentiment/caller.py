"""Who waits for an answer, until when, and whether still.

The door that a request came in by describes its caller here; what waits for the model asks. A
program that calls the classifier itself waits for as long as it takes.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
import time
from collections.abc import Callable, Iterator

from roberta_sentiment.errors import CallerGoneError, DeadlineError, DroppedError, TimeLimitError

_POLL_S = 0.25
"""Between two checks of a connection that can't announce its end."""
_LONGEST_WAIT_S = 1.0


class Caller:
    """One caller; any thread may ask or cancel.

    Args:
        deadline: `time.monotonic()` after which nobody waits for the answer; None: no such time.
        has_left: says whether the connection has ended; asked a few times a second while the
            request waits.

    Attributes:
        retry_after: seconds that a refused caller should wait, for its door to pass on.
        on_queued: called when the request has been admitted to the model's queue.
    """

    def __init__(
        self, deadline: float | None = None, has_left: Callable[[], bool] | None = None
    ) -> None:
        self.retry_after: int | None = None
        self.on_queued: Callable[[], None] = lambda: None
        self._deadline = deadline
        self._has_left = has_left
        self._time_limit: tuple[float, float] | None = None
        self._cancelled = False
        self._lock = threading.Lock()
        self._on_cancel: Callable[[], None] | None = None

    def limit_time(self, seconds: float) -> None:
        """Limit the request to this many seconds from now, as the server's own limit."""
        self._time_limit = time.monotonic() + seconds, seconds

    def cancel(self) -> None:
        """Record that nobody waits any more."""
        with self._lock:
            self._cancelled = True
            callback = self._on_cancel
        if callback:
            callback()

    @contextlib.contextmanager
    def calling(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call back on `cancel`, in its thread, during the block; at once if already cancelled."""
        with self._lock:
            self._on_cancel = callback
            cancelled = self._cancelled
        if cancelled:
            callback()
        try:
            yield
        finally:
            self._on_cancel = None

    def problem(self, *, ask: bool = True) -> DroppedError | None:
        """Why nobody needs the answer any more; None while somebody waits for it.

        Args:
            ask: ask the connection too.
        """
        now = time.monotonic()
        if self._deadline is not None and now >= self._deadline:
            return DeadlineError()
        if self._cancelled:
            return CallerGoneError()
        if ask and self._has_left is not None and self._has_left():
            self._cancelled = True
            return CallerGoneError()
        if self._time_limit and now >= self._time_limit[0]:
            return TimeLimitError(self._time_limit[1])
        return None

    def check(self) -> None:
        """Make sure that somebody still waits for the answer.

        Raises:
            DroppedError: nobody does.
        """
        problem = self.problem()
        if problem:
            raise problem

    def poll_timeout_s(self) -> float:
        """Seconds until `problem` may change without a call of `cancel`."""
        now = time.monotonic()
        waits = [_LONGEST_WAIT_S if self._has_left is None else _POLL_S]
        if self._deadline is not None:
            waits.append(self._deadline - now)
        if self._time_limit:
            waits.append(self._time_limit[0] - now)
        return max(0.0, min(waits))


_current: contextvars.ContextVar[Caller | None] = contextvars.ContextVar("caller", default=None)


def current() -> Caller:
    """The caller whom this thread serves; one without limits if no door has set any."""
    return _current.get() or Caller()


@contextlib.contextmanager
def serving(caller: Caller) -> Iterator[Caller]:
    """Serve a caller in this thread."""
    token = _current.set(caller)
    try:
        yield caller
    finally:
        _current.reset(token)
