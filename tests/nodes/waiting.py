"""A node that holds a text until a file says that it may go on."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any

from Model import Model
from seldon_node import payload

RELEASE = "RELEASE_FILE"
BEGUN = "a held request has begun"
LIMIT_S = 60


class Waiting(Model):
    """As Model, but a text with the word held waits for the file named by RELEASE_FILE."""

    def _predict(self, request: payload.Request) -> Any:
        if any("held" in text for text in request.texts):
            logging.getLogger(__name__).warning(BEGUN)
            deadline = time.monotonic() + LIMIT_S
            while not Path(os.environ[RELEASE]).exists() and time.monotonic() < deadline:
                time.sleep(0.01)
        return super()._predict(request)
