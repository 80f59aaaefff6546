"""A limit that all threads share: never passed, and nobody waits forever."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from roberta_sentiment.text.budget import Budget


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
    budget = Budget(100, small=5)
    with budget.take(1000), budget.take(25), budget.take(5):
        pass


class Watched(threading.Condition):
    """A condition of which is known how often somebody began to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: queue.SimpleQueue[None] = queue.SimpleQueue()

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.put(None)
        return super().wait(timeout)


@pytest.mark.parametrize(
    ("size", "rest"), [pytest.param(100, 25, id="much"), pytest.param(4, 1, id="by ones")]
)
def test_who_asks_for_more_than_is_left_waits_for_it(
    monkeypatch: pytest.MonkeyPatch, size: int, rest: int
) -> None:
    """The largest gets three quarters; a quarter is left for others, and no more."""
    monkeypatch.setattr(threading, "Condition", Watched)
    budget = Budget(size)
    monkeypatch.undo()
    watched = budget._returned
    assert isinstance(watched, Watched)

    def take(amount: int) -> None:
        with budget.take(amount):
            pass

    with ThreadPoolExecutor(1) as pool:
        with budget.take(1000):
            pool.submit(take, rest).result(30)
            with budget.take(rest):
                asked = pool.submit(take, 1)
                watched.waits.get(timeout=30)
                assert not asked.done()
            asked.result(30)
        with budget.take(1):
            asked = pool.submit(take, size)
        asked.result(30)
