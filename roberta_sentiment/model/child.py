"""Run something in a child process, so that neither its threads nor its memory stay."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from roberta_sentiment.errors import SentimentError, StartError

LONGEST_S = 300.0
"""Seconds that the function may take: opening a model of gigabytes takes tens of them."""

T = TypeVar("T")
"""Not in brackets behind the function's name: PyTorch's environment has Python 3.11."""
_FORK = multiprocessing.get_context("fork")


def run_in_child(  # noqa: UP047
    function: Callable[[Callable[[], Any]], T],
    longest_s: float = LONGEST_S,
    *,
    meanwhile: Callable[[Callable[[Any], None]], object] = lambda _: None,
) -> T:
    """Run a function in a forked process and wait for its result, which must be plain data.

    Args:
        function: what to run; it is given a function that waits for what `meanwhile` sends.
        longest_s: seconds after which the process is ended.
        meanwhile: what this process does before it waits; it is given a function that sends plain
            data.

    Raises:
        StartError: what the function raised, in words, or the process was killed or took too long.
    """
    ours, theirs = _FORK.Pipe()
    process = _FORK.Process(target=_run, args=(function, ours, theirs), daemon=True)
    process.start()
    theirs.close()

    def send(value: object) -> None:
        with contextlib.suppress(OSError):  # it may have ended already
            ours.send(value)

    try:
        meanwhile(send)
        if not ours.poll(longest_s):
            raise StartError(f"the model did not answer a trial within {longest_s:g} s")
        message, result = ours.recv()
    except (EOFError, ConnectionError):
        process.join()
        message, result = _why(process.exitcode), None
    finally:
        process.kill()
        process.join()
        ours.close()
    if message:
        raise StartError(message)
    found: T = result
    return found


def _run(
    function: Callable[[Callable[[], Any]], object], ours: Connection, theirs: Connection
) -> None:
    ours.close()  # so that the wait for the parent ends with the parent
    message, result = "", None
    try:
        result = function(theirs.recv)
    except SentimentError as error:
        message = error.message
    except MemoryError:
        message = "there is not enough memory to load the model"
    except Exception as error:  # the parent must get every error
        message = f"the model can't be loaded: {type(error).__name__}: {str(error)[:200]}"
    theirs.send((message, result))


def _why(code: int | None) -> str:
    if code == -signal.SIGKILL:
        return "the model was killed while it was tried; the container needs more memory"
    return f"the process that tried the model ended with code {code}"
