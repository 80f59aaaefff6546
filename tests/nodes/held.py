"""A node whose model waits in a run while a file exists, and writes down what it is asked."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from Model import Model
from roberta_sentiment.run.scheduler import Scheduler
from roberta_sentiment.run.session import Session

SWITCH, RUNS, ASKED = "TEST_HELD_WHILE", "TEST_RUNS", "TEST_ASKED"
PAUSE_S = 0.01


class Held(Model):
    """As Model, but for the switch and two lists: lengths, one line a run, and requests."""

    def load(self) -> None:
        """Let every run of the model look at the switch first."""
        original, schedule = Session.run, Scheduler.run

        def asked(*arguments: Any, **options: Any) -> Any:
            with Path(os.environ[ASKED]).open("a", encoding="ascii") as requests:
                requests.write("asked\n")
            return schedule(*arguments, **options)

        def run(session: Session, ids: Any, lengths: Any) -> Any:
            with Path(os.environ[RUNS]).open("a", encoding="ascii") as runs:
                runs.write(" ".join(map(str, lengths)) + "\n")
            while Path(os.environ[SWITCH]).exists():
                time.sleep(PAUSE_S)
            return original(session, ids, lengths)

        Session.run = run  # type: ignore[method-assign, assignment]
        Scheduler.run = asked  # type: ignore[method-assign]
        super().load()
