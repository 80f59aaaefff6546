"""Threads that answer requests."""

from __future__ import annotations

import asyncio
import functools
import queue
import threading
from typing import NoReturn

import pytest

from roberta_sentiment.serving.threads import LastWaiter, WorkerThreads


def test_results_come_back_in_any_order() -> None:
    """Work that waits does not hold up what other threads have done."""

    async def run() -> list[str]:
        threads = WorkerThreads(2, "test", asyncio.get_running_loop())
        done = threading.Event()
        waiting = threads.run(lambda: "second" if done.wait(20) else "never")
        first = await threads.run(lambda: "first")
        done.set()
        return [first, await waiting]

    assert ["first", "second"] == asyncio.run(run())


@pytest.mark.parametrize("error", [KeyError("a"), SystemExit(3), StopIteration()], ids=repr)
def test_whatever_is_raised_comes_back(error: BaseException) -> None:
    """And the thread goes on."""

    def fail() -> NoReturn:
        raise error

    async def run() -> str:
        threads = WorkerThreads(1, "test", asyncio.get_running_loop())
        caught = (await asyncio.gather(threads.run(fail), return_exceptions=True))[0]
        assert isinstance(caught, BaseException)
        return f"{type(caught).__name__} {await threads.run(lambda: 'goes on')}"

    name = "RuntimeError" if isinstance(error, StopIteration) else type(error).__name__
    assert f"{name} goes on" == asyncio.run(run())


def test_an_abandoned_result_is_dropped() -> None:
    """A call that is over takes no result; the thread goes on."""

    async def run() -> str:
        threads = WorkerThreads(1, "test", asyncio.get_running_loop())
        gone, release = threading.Event(), threading.Event()

        def wait() -> bool:
            gone.set()
            return release.wait(20)

        call = threads.run(wait)
        assert await asyncio.to_thread(gone.wait, 20)
        call.cancel()
        release.set()
        return await threads.run(lambda: "goes on")

    assert "goes on" == asyncio.run(run())


def test_close_waits_for_what_was_given() -> None:
    """What no thread has begun is done, too, before the threads end."""

    async def run() -> list[int]:
        threads = WorkerThreads(1, "test", asyncio.get_running_loop())
        begun, release = threading.Event(), threading.Event()

        def wait() -> int:
            begun.set()
            return release.wait(20)

        first = threads.run(wait)
        assert await asyncio.to_thread(begun.wait, 20)
        others = [threads.run(functools.partial(int, i)) for i in range(3)]
        release.set()
        await asyncio.to_thread(threads.close)
        return await asyncio.gather(first, *others)

    assert [True, 0, 1, 2] == asyncio.run(run())


def test_the_last_to_wait_is_woken_first() -> None:
    """The others stay in their order."""
    condition, waiting, woken = LastWaiter(), threading.Semaphore(0), queue.SimpleQueue[str]()

    def wait(name: str) -> None:
        with condition:
            waiting.release()
            condition.wait()
        woken.put(name)

    for name in "abc":
        threading.Thread(target=wait, args=(name,), daemon=True).start()
        waiting.acquire()
    for name in "cba":
        with condition:
            condition.notify()
        assert name == woken.get(timeout=20)
