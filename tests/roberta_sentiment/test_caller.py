"""Who waits for an answer: a deadline, a connection, a limit of the server, or nobody any more."""

from __future__ import annotations

import threading
import time

import pytest

from roberta_sentiment import caller
from roberta_sentiment.caller import Caller
from roberta_sentiment.errors import CallerGoneError, DeadlineError, TimeLimitError


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which a test sets; it begins at 100 s."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_caller_without_limits_waits_forever(clock: list[float]) -> None:
    """A program that calls the classifier itself sets none."""
    waiting = caller.current()
    clock[0] = 1e9
    assert waiting.problem() is None
    waiting.check()


def test_a_deadline_ends_the_wait(clock: list[float]) -> None:
    """At its moment, and it comes before the server's own limit."""
    waiting = Caller(deadline=105.0)
    waiting.limit_time(5.0)
    assert waiting.problem() is None
    assert 0.25 <= waiting.poll_timeout_s() <= 5.0
    clock[0] = 105.0
    with pytest.raises(DeadlineError):
        waiting.check()
    assert 0.0 == waiting.poll_timeout_s()


def test_the_server_s_limit_counts_from_when_it_is_set(clock: list[float]) -> None:
    """Its sentence says how long that is."""
    waiting = Caller()
    waiting.limit_time(7.0)
    clock[0] = 106.9
    assert waiting.problem() is None
    clock[0] = 107.0
    with pytest.raises(TimeLimitError, match="within 7 s"):
        waiting.check()


def test_a_connection_is_asked_where_that_is_allowed() -> None:
    """Asking takes a system call; once it has ended, it is not asked again."""
    asked: list[int] = []

    def has_left() -> bool:
        asked.append(1)
        return len(asked) > 1

    waiting = Caller(has_left=has_left)
    assert waiting.problem(ask=False) is None
    assert [] == asked
    assert waiting.problem() is None
    for _ in range(2):
        assert isinstance(waiting.problem(), CallerGoneError)
    assert 2 == len(asked)


def test_cancelling_calls_back_at_once() -> None:
    """Also where it came before somebody listened, and not after the wait is over."""
    called: list[str] = []
    waiting = Caller()
    with waiting.calling(lambda: called.append("first")):
        waiting.cancel()
    with waiting.calling(lambda: called.append("second")):
        assert ["first", "second"] == called
    waiting.cancel()
    assert ["first", "second"] == called
    assert isinstance(waiting.problem(), CallerGoneError)


def test_each_thread_serves_its_own_caller() -> None:
    """And none after the request."""
    mine, seen = Caller(), []
    with caller.serving(mine):
        other = threading.Thread(target=lambda: seen.append(caller.current()))
        other.start()
        other.join()
        assert mine is caller.current()
    assert mine is not seen[0]
    assert mine is not caller.current()
