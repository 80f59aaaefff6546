"""A node whose servers find that its model can't be loaded."""

from __future__ import annotations

import logging

from Model import Model
from seldon_node import repairs


class Unloadable(Model):
    """As Model, until the servers start."""

    def load(self) -> None:
        """Fail as Model does."""
        logging.getLogger(__name__).critical("the test took the model away")
        raise SystemExit(repairs.BOOT_FAILED)
