"""Threads that answer requests; the one that was busy last is the next to work.

Its stack and its memory are still in the CPU's caches, which makes the requests of few callers
cheaper than turns among all threads.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class LastWaiter(threading.Condition):
    """Wakes the thread that began to wait last."""

    _waiters: deque[Any]

    def notify(self, n: int = 1) -> None:
        """Wake threads that wait, the last one first."""
        self._waiters.rotate(n)
        super().notify(n)


class WorkerThreads:
    """Threads that work for an event loop, in the order in which work comes.

    `loop.run_in_executor` does the same with two futures and two locks a call, which costs as much
    as reading a message.

    Args:
        number: of threads.
        name: of each thread, to be seen in tools such as top.
        loop: that waits for results.

    Raises:
        RuntimeError: a thread can't be started.
    """

    def __init__(self, number: int, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._work: deque[tuple[Callable[[], Any], asyncio.Future[Any]]] = deque()
        self._has_work = LastWaiter()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._run, name=name, daemon=True) for _ in range(number)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Have a function called in a thread; to be called in the loop's own thread.

        Returns:
            What the function returns or raises.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        with self._has_work:
            self._work.append((function, future))
            self._has_work.notify()
        return future

    def close(self) -> None:
        """End the threads when they have done what they were given, and wait for them."""
        with self._has_work:
            self._closed = True
            self._has_work.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._has_work:
                while not self._work:
                    if self._closed:
                        return
                    self._has_work.wait()
                function, future = self._work.popleft()
            result, error = None, None
            try:
                result = function()
            except BaseException as caught:  # the call gets whatever was raised
                error = caught
            self._loop.call_soon_threadsafe(_settle, future, result, error)
            del function, future, result, error  # an idle thread keeps no message


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, StopIteration):  # no future takes one
        future.set_exception(RuntimeError("StopIteration"))
    else:
        future.set_exception(error)
