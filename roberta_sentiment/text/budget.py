"""A limit of memory that all threads share."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class Budget:
    """So much of something at once, over all threads.

    Who asks for little does not wait, and who asks for much gets three quarters: neither stands
    behind the other for long.

    Args:
        size: how much there is.
        little: how much anybody may take at any time.
    """

    def __init__(self, size: int, little: int = 0) -> None:
        self._most = size - size // 4
        self._left = size
        self._little = little
        self._returned = threading.Condition()

    @contextlib.contextmanager
    def take(self, amount: int) -> Iterator[None]:
        """Have so much of it, once that is left."""
        if amount <= self._little:
            yield
            return
        amount = min(amount, self._most)
        with self._returned:
            self._returned.wait_for(lambda: amount <= self._left)
            self._left -= amount
        try:
            yield
        finally:
            with self._returned:
                self._left += amount
                self._returned.notify_all()
