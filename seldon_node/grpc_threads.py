"""Threads that work for a gRPC server's event loop.

`loop.run_in_executor` does the same with two futures and two locks a call, which costs as much as
reading a message.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class WorkerThreads:
    """Threads that are all started at once and take work in the order in which it comes.

    Args:
        number: of threads.
        name: of each thread, for whoever looks at the process.
        loop: that waits for results.

    Raises:
        RuntimeError: a thread can't be started.
    """

    def __init__(self, number: int, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._work: queue.SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]]]
        self._work = queue.SimpleQueue()
        for _ in range(number):
            threading.Thread(target=self._run, name=name, daemon=True).start()

    def run(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Have a function called in a thread; to be called in the loop's own thread.

        Returns:
            What the function returns or raises.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        self._work.put((function, future))
        return future

    def _run(self) -> None:
        while True:
            function, future = self._work.get()
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
