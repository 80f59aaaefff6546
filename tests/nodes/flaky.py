"""A node whose model fails while a file exists."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from Model import Model
from roberta_sentiment.errors import InferenceError
from roberta_sentiment.run.session import Session

SWITCH = "TEST_FAILS_WHILE"


class Flaky(Model):
    """As Model, but for the switch."""

    def load(self) -> None:
        """Let every run of the model look at the switch first."""
        original = Session.run

        def run(session: Session, ids: Any, lengths: Any) -> Any:
            if Path(os.environ[SWITCH]).exists():
                raise InferenceError("the test broke the model")
            return original(session, ids, lengths)

        Session.run = run  # type: ignore[method-assign, assignment]
        super().load()
