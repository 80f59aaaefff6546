"""The state of a model, with a model that answers or fails as a test says."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from roberta_sentiment.caller import Caller
from roberta_sentiment.errors import (
    CallerGoneError,
    InferenceError,
    OverloadedError,
)
from roberta_sentiment.predictions import Predictions, Work
from roberta_sentiment.serving import health
from roberta_sentiment.serving.health import ModelHealth
from roberta_sentiment.settings import Truncation

LIMIT_S = 20
ANSWER = Predictions(
    ("bad", "good"), np.zeros((1, 2), np.float32), [3], [], Work(1, 3, 0, 0.0, 0.0, 0.0)
)


class Scripted:
    """A model that raises what it is given, one after another, and answers when nothing is left."""

    labels = ("bad", "good")

    def __init__(self, *failures: BaseException) -> None:
        self.failures = [*failures]
        self.asked: list[Sequence[str]] = []

    def classify(self, texts: Sequence[str], truncation: Truncation | None = None) -> Predictions:
        self.asked.append(texts)
        if self.failures:
            raise self.failures.pop(0)
        return ANSWER

    def classify_ids(self, rows: Sequence[Sequence[int]]) -> Predictions:
        raise NotImplementedError


class Watched(ModelHealth):
    """A health whose changes come one by one, and whose pauses end when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.changes: queue.Queue[bool] = queue.Queue()
        self.goes_on = threading.Semaphore(0)
        super().__init__(self.changes.put)
        monkeypatch.setattr(health, "time", self)

    def sleep(self, _: float) -> None:
        assert self.goes_on.acquire(timeout=LIMIT_S)

    def serve(self, *failures: BaseException) -> Scripted:
        """Start to serve a model that fails from then on."""
        model = Scripted()
        self.start_serving(model, LIMIT_S)
        model.failures = [*failures]
        return model


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


def test_a_model_is_loading_until_it_has_answered(watched: Watched) -> None:
    """What is not ready says what it waits for; a warm-up that fails changes nothing."""
    assert "the model is still loading" == watched.problem
    with pytest.raises(InferenceError):
        watched.start_serving(Scripted(InferenceError("broken")), LIMIT_S)
    assert "loading" == watched.state
    model = watched.serve()
    assert ("serving", "") == (watched.state, watched.problem)
    assert [[health.WARM_UP]] == model.asked


def test_a_failure_of_one_text_changes_nothing(watched: Watched) -> None:
    """The model answers the text of its warm-up, so it serves."""
    model = watched.serve()
    watched.check_model("this text breaks it")
    assert "serving" == watched.state
    assert 2 == len(model.asked)
    assert not watched.changes.get(timeout=LIMIT_S)


def test_a_model_that_fails_is_asked_until_it_answers(watched: Watched) -> None:
    """Health goes red, says why, and comes back without any traffic."""
    watched.serve(InferenceError("a"), MemoryError(), SystemExit(1))
    watched.check_model("no memory")
    assert watched.changes.get(timeout=LIMIT_S)
    assert ("failing", "no memory") == (watched.state, watched.problem)
    watched.goes_on.release(3)
    assert [True, True, False] == [watched.changes.get(timeout=LIMIT_S) for _ in range(3)]
    assert ("serving", "") == (watched.state, watched.problem)


@pytest.mark.parametrize("busy", [OverloadedError("full", 3), CallerGoneError()], ids=repr)
def test_a_busy_model_is_asked_again_without_a_change(
    watched: Watched, busy: BaseException
) -> None:
    """A full queue says nothing about the model."""
    watched.serve(busy, busy)
    watched.check_model("broken")
    assert "serving" == watched.state
    watched.goes_on.release(2)
    assert not watched.changes.get(timeout=LIMIT_S)


def test_one_check_at_a_time(watched: Watched) -> None:
    """Many callers fail together; each that asked the model too would keep it from recovering."""
    model = watched.serve(InferenceError("a"))
    watched.check_model("first")
    asked = len(model.asked)
    watched.check_model("second")
    assert (asked, "first") == (len(model.asked), watched.problem)
    watched.goes_on.release()
    assert [True, False] == [watched.changes.get(timeout=LIMIT_S) for _ in range(2)]


def test_a_recovered_model_may_fail_again(watched: Watched) -> None:
    """The next failure is looked at as the first was."""
    model = watched.serve()
    for _ in range(2):
        model.failures = [InferenceError("a")]
        watched.check_model("broken")
        watched.goes_on.release()
        assert [True, False] == [watched.changes.get(timeout=LIMIT_S) for _ in range(2)]


def test_without_a_thread_the_next_failure_tries_again(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container may be at its limit of threads just then."""

    class Refused(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    model = watched.serve(InferenceError("a"))
    with monkeypatch.context() as patched:
        patched.setattr(threading, "Thread", Refused)
        watched.check_model("broken")
    assert "broken" == watched.problem
    watched.check_model("broken")
    assert "" == watched.problem
    assert 3 == len(model.asked)


def test_the_model_is_given_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that hangs would keep its health what it was forever."""
    limits: list[float] = []
    monkeypatch.setattr(Caller, "limit_time", lambda _, seconds: limits.append(seconds))
    watched = ModelHealth()
    watched.start_serving(Scripted(), 7.0)
    watched.check_model("broken")
    assert [7.0] == limits


def test_the_garbage_collector_leaves_what_is_loaded_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After the warm-up, so that what it has made is left alone too."""
    events: list[Any] = []
    model = Scripted()
    monkeypatch.setattr("gc.freeze", lambda: events.append(len(model.asked)))
    ModelHealth().start_serving(model, 1.0)
    assert [1] == events
