"""Run something in a child process, so that neither its threads nor its memory stay."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TypeVar

from roberta_sentiment.errors import SentimentError, StartError

LONGEST_S = 300.0
"""Seconds that the function may take: opening a model of gigabytes takes tens of them."""

T = TypeVar("T")
"""Not in brackets behind the function's name: PyTorch's environment has Python 3.11."""
_FORK = multiprocessing.get_context("fork")


def run_in_child(function: Callable[[], T], longest_s: float = LONGEST_S) -> T:  # noqa: UP047
    """Run a function in a forked process and wait for its result, which must be plain data.

    Args:
        function: what to run.
        longest_s: seconds after which the process is ended.

    Raises:
        StartError: what the function raised, in words, or the process was killed or took too long.
    """
    received, sent = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_run, args=(function, sent), daemon=True)
    process.start()
    sent.close()
    try:
        if not received.poll(longest_s):
            raise StartError(f"the model did not answer a trial within {longest_s:g} s")
        message, result = received.recv()
    except EOFError:
        process.join()
        message, result = _why(process.exitcode), None
    finally:
        process.kill()
        process.join()
        received.close()
    if message:
        raise StartError(message)
    found: T = result
    return found


def _run(function: Callable[[], object], sent: Connection) -> None:
    message, result = "", None
    try:
        result = function()
    except SentimentError as error:
        message = error.message
    except MemoryError:
        message = "there is not enough memory to load the model"
    except Exception as error:  # the parent must get every error
        message = f"the model can't be loaded: {type(error).__name__}: {str(error)[:200]}"
    sent.send((message, result))


def _why(code: int | None) -> str:
    if code == -signal.SIGKILL:
        return "the model was killed while it was tried; the container needs more memory"
    return f"the process that tried the model ended with code {code}"
