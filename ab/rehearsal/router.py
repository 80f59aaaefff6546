"""RANDOM_ABTEST as a ROUTER component of its own; in a cluster the executor draws itself."""

from __future__ import annotations

import random
import threading

from seldon_node import repairs

repairs.apply()


class RandomABTest:
    """Draws a child for each request, as Seldon's executor does (executor/predictor/components.go).

    Args:
        ratioA: share of child 0, 0..1.
        seed: of the draws; the executor's are not repeatable.
    """

    def __init__(self, ratioA: float, seed: int) -> None:  # noqa: N803  Seldon's name for it
        self._ratio = ratioA
        self._draw = random.Random(seed)  # noqa: S311  a split, not a secret
        self._lock = threading.Lock()

    def route(self, features: object, names: object) -> int:
        """Child for this request: 0 or 1. Seldon takes no other type than `int`."""
        with self._lock:
            return 0 if self._draw.random() < self._ratio else 1

    def send_feedback(
        self, features: object, names: object, reward: float, truth: object, routing: object = None
    ) -> None:
        """Learn nothing."""
