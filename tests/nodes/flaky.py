"""A node whose model fails while a file exists."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from Model import Model
from roberta_sentiment import session
from roberta_sentiment.errors import InferenceError

SWITCH = "TEST_FAILS_WHILE"

_original = session.Session.run


def _run(self: session.Session, ids: Any, lengths: Any) -> Any:
    if Path(os.environ[SWITCH]).exists():
        raise InferenceError("the test broke the model")
    return np.asarray(_original(self, ids, lengths))


session.Session.run = _run  # type: ignore[method-assign]


class Flaky(Model):
    """As Model, but for the switch."""
