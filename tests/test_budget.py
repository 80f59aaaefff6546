"""A limit that all threads share: never passed, and nobody waits for ever."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from roberta_sentiment.budget import Budget


def test_no_more_is_out_than_there_is() -> None:
    """Whatever is asked for, and by however many at once."""
    budget, lock = Budget(100), threading.Lock()
    out, most = 0, 0

    def take(amount: int) -> None:
        nonlocal out, most
        with budget.take(amount):
            with lock:
                out += min(amount, 75)
                most = max(most, out)
            with lock:
                out -= min(amount, 75)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(take, [60, 1, 500, 99, 40, 75, 30] * 50))
    assert most <= 100
    assert 0 == out


def test_little_does_not_wait_for_much() -> None:
    """A short text beside one of megabytes, even where all is taken."""
    budget = Budget(100, little=5)
    with budget.take(1000), budget.take(25), budget.take(5):
        pass
