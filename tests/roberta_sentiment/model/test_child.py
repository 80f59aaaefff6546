"""A function in a child process: what it raises, and what happens to it, is one sentence."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import pytest

from roberta_sentiment.errors import GraphError, StartError
from roberta_sentiment.model.child import run_in_child


def fail(error: Exception) -> Callable[[], object]:
    """A function that raises an error."""

    def function() -> object:
        raise error

    return function


@pytest.mark.parametrize(
    ("function", "words"),
    [
        pytest.param(lambda: os.kill(os.getpid(), signal.SIGKILL), "more memory", id="killed"),
        pytest.param(lambda: os._exit(3), "ended with code 3", id="exited"),
        pytest.param(fail(MemoryError()), "not enough memory", id="memory"),
        pytest.param(fail(ValueError("no number")), "ValueError: no number", id="other error"),
        pytest.param(fail(GraphError("no output")), "^no output$", id="error of ours"),
    ],
)
def test_a_child_that_fails_is_one_sentence(function: Callable[[], object], words: str) -> None:
    """Over its memory limit the kernel kills it without a word."""
    with pytest.raises(StartError, match=words):
        run_in_child(function)


def test_a_child_has_so_much_time() -> None:
    """A model that hangs must not hang the server."""
    with pytest.raises(StartError, match=r"did not answer a trial within 0\.1 s"):
        run_in_child(threading.Event().wait, longest_s=0.1)


def test_a_child_that_ends_well_says_nothing() -> None:
    """Its result is dropped, and nothing of it stays in this process."""
    changed: list[int] = []
    run_in_child(lambda: changed.append(1))
    assert [] == changed
