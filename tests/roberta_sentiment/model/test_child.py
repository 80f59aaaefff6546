"""A function in a child process: what it raises, and what happens to it, is one sentence."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable

import pytest

from roberta_sentiment.errors import GraphError, StartError
from roberta_sentiment.model.child import run_in_child


def fail(error: Exception) -> Callable[[object], object]:
    """A function that raises an error."""

    def function(_: object) -> object:
        raise error

    return function


@pytest.mark.parametrize(
    ("function", "words"),
    [
        pytest.param(lambda _: os.kill(os.getpid(), signal.SIGKILL), "more memory", id="killed"),
        pytest.param(lambda _: os._exit(3), "ended with code 3", id="exited"),
        pytest.param(fail(MemoryError()), "not enough memory", id="memory"),
        pytest.param(fail(ValueError("no number")), "ValueError: no number", id="other error"),
        pytest.param(fail(GraphError("no output")), "^no output$", id="error of ours"),
    ],
)
def test_a_child_that_fails_is_one_sentence(
    function: Callable[[object], object], words: str
) -> None:
    """Over its memory limit the kernel kills it without a word."""
    with pytest.raises(StartError, match=words):
        run_in_child(function)


def test_a_child_has_so_much_time() -> None:
    """A model that hangs must not hang the server."""
    with pytest.raises(StartError, match=r"did not answer a trial within 0\.1 s"):
        run_in_child(lambda _: threading.Event().wait(), longest_s=0.1)


def test_a_child_that_ends_well_says_nothing() -> None:
    """Its result is dropped, and nothing of it stays in this process."""
    changed: list[int] = []
    run_in_child(lambda _: changed.append(1))
    assert [] == changed


def test_a_child_can_wait_for_what_is_made_meanwhile() -> None:
    """Its parent need not have everything when it starts."""

    def send_two(send: Callable[[object], None]) -> None:
        send(2)
        send(3)

    assert 5 == run_in_child(lambda receive: receive() + receive(), meanwhile=send_two)


def test_a_child_that_fails_before_it_receives_is_still_heard() -> None:
    """It has ended by the time when something is sent."""
    with pytest.raises(StartError, match=r"^no output$"):
        run_in_child(fail(GraphError("no output")), meanwhile=_send_too_late)


def test_no_child_stays_when_its_parent_fails_meanwhile() -> None:
    """An error of the parent is raised as it is, though the child waits."""
    with pytest.raises(GraphError, match="wrong tokenizer"):
        run_in_child(lambda receive: receive(), meanwhile=_wrong_tokenizer)
    assert [] == multiprocessing.active_children()


def _send_too_late(send: Callable[[object], None]) -> None:
    (child,) = multiprocessing.active_children()
    child.join()
    send(1)


def _wrong_tokenizer(_: object) -> None:
    raise GraphError("wrong tokenizer")
