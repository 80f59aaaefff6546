"""Threads that work for an event loop."""

from __future__ import annotations

import asyncio
import threading
from typing import NoReturn

import pytest

from seldon_node.grpc_threads import WorkerThreads


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


def test_what_nobody_waits_for_any_more() -> None:
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
