"""A node that takes its time with a text that asks for it."""

from __future__ import annotations

import logging
import time
from typing import Any

from Model import Model
from seldon_node import payload

PAUSE_S = 1.5
BEGUN = "a slow request has begun"


class Slow(Model):
    """As Model, but a text with the word slowly takes 1.5 s."""

    def _predict(self, request: payload.Request) -> Any:
        if any("slowly" in text for text in request.texts):
            logging.getLogger(__name__).warning(BEGUN)
            time.sleep(PAUSE_S)
        return super()._predict(request)
