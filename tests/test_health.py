"""What the server processes know of each other's health."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.synchronize import Event

from seldon_node.health import Board


def report_and_wait(board: Board, reported: Event, end: Event) -> None:
    board.report(failing=True)
    reported.set()
    end.wait(60)


def test_a_failure_ends_with_its_process() -> None:
    """A worker that failed and was killed is replaced; its failure must not stay for ever."""
    context = multiprocessing.get_context("fork")
    board, reported, end = Board(), context.Event(), context.Event()
    worker = context.Process(target=report_and_wait, args=(board, reported, end))
    worker.start()
    assert reported.wait(60)
    assert [worker.pid] == board.failing()
    end.set()
    worker.join(60)
    assert [] == board.failing()


def test_a_process_takes_its_failure_back() -> None:
    """The counterpart: while it lives, only it says that it is well again."""
    board = Board()
    board.report(failing=True)
    assert [os.getpid()] == board.failing()
    board.report(failing=False)
    assert [] == board.failing()
