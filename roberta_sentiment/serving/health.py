"""Whether the model of this process answers."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from typing import Literal

from roberta_sentiment import caller
from roberta_sentiment.errors import DroppedError, OverloadedError
from roberta_sentiment.predictions import TextClassifier

WARM_UP = "This film is so good"
_RETRY_S = 0.5

State = Literal["loading", "serving", "failing"]


class ModelHealth:
    """The state of a model: loading, then serving, and failing while it answers nothing.

    Args:
        on_change: called after each check, with whether the model fails.

    Attributes:
        state: of the model.
        problem: why the model does not serve, in a few words; empty while it does.
    """

    state: State = "loading"
    problem: str = "the model is still loading"

    def __init__(self, on_change: Callable[[bool], None] = lambda failing: None) -> None:
        self._on_change = on_change
        self._lock = threading.Lock()
        self._checking = False
        self._model: TextClassifier
        self._time_limit: float

    def start_serving(self, model: TextClassifier, time_limit: float) -> None:
        """Take a loaded model into service once it has passed a warm-up prediction.

        What lives by now lives as long as the process, so the garbage collector is kept from
        scanning it again, which would stop all requests for a tenth of a second.

        Args:
            model: what serves.
            time_limit: for one answer, s.
        """
        model.classify([WARM_UP])
        gc.freeze()
        self._model, self._time_limit = model, time_limit
        self.state, self.problem = "serving", ""

    def check_model(self, failure: str) -> None:
        """Find out whether the model fails, which ends `serving`, or one text alone.

        A server without traffic, because its health is red, has to recover by itself.

        Args:
            failure: what has gone wrong, in a few words.
        """
        with self._lock:
            if self._checking:
                return
            self._checking = True
        if self._answers(failure):
            return
        try:
            threading.Thread(target=self._recover, args=(failure,), daemon=True).start()
        except RuntimeError:  # the container's limit of threads; the next failure tries again
            self._checking = False

    def _recover(self, failure: str) -> None:
        """Ask the model until it answers, whatever is raised until then."""
        time.sleep(_RETRY_S)
        while not self._answers(failure):
            time.sleep(_RETRY_S)

    def _answers(self, failure: str) -> bool:
        """Whether the model answers a text that it has answered before."""
        asking = caller.Caller()
        asking.limit_time(self._time_limit)
        try:
            with caller.serving(asking):
                self._model.classify([WARM_UP])
        except (OverloadedError, DroppedError):
            return False  # busy, which says nothing about its health
        except BaseException:  # whatever was raised, the state must change
            self._set("failing", failure)
            return False
        with self._lock:
            self._set("serving", "")
            self._checking = False
        return True

    def _set(self, state: State, problem: str) -> None:
        self.state, self.problem = state, problem
        self._on_change(state == "failing")
