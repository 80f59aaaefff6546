"""A limit of memory that all threads share."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class Budget:
    """An amount that threads share: each takes a part and returns it.

    A small part is given at once, and a large one is cut to three quarters, so that neither blocks
    the other for long.

    Args:
        size: the whole amount.
        small: largest part that is given without waiting.
    """

    def __init__(self, size: int, small: int = 0) -> None:
        self._most = size - size // 4
        self._left = size
        self._small = small
        self._returned = threading.Condition()

    @contextlib.contextmanager
    def take(self, amount: int) -> Iterator[None]:
        """Hold a part, once that much is free."""
        if amount <= self._small:
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
