"""A Seldon ROUTER that gives all requests of one unit, such as a user, to the same model.

The image of the node serves it: MODEL_NAME=seldon_node.hash_router.HashRouter, SERVICE_TYPE=ROUTER.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import math
import os
import random
from collections.abc import Mapping
from typing import Any

from seldon_core.proto import prediction_pb2

from seldon_node import payload, repairs

logger = logging.getLogger(__name__)

repairs.apply()


class HashRouter:
    """Chooses a child by the hash of a tag of the request.

    Replicas and restarts agree, because nothing is remembered. A request without the tag is drawn
    at random.

    Args:
        key: name of the tag in `meta.tags`.
        shares: of the children, in their order, with commas; they are relative to their sum.
        salt: another one divides the units differently, as each test should; by default the name
            of the deployment.

    Raises:
        SystemExit: with one sentence that says what is wrong.
    """

    def __init__(self, key: str = "unit", shares: str = "0.5,0.5", salt: str = "") -> None:
        try:
            numbers = [float(share) for share in shares.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) < 2 or not all(0 <= n < math.inf for n in numbers) or not sum(numbers):
            raise SystemExit(
                f"cannot start: shares is {shares[:60]!r}; a number for each child is needed, such "
                "as 0.5,0.5"
            )
        if not key:
            raise SystemExit(
                "cannot start: key is empty; the name of a tag is needed, such as unit"
            )
        self._key, self._salt = key, salt or os.environ.get("SELDON_DEPLOYMENT_ID", "")
        self._limits = [limit / sum(numbers) for limit in itertools.accumulate(numbers)]
        logger.info("settings in force: key %s, shares %s, salt %s", key, numbers, self._salt)

    def choose(self, unit: str | None) -> int:
        """The child of a unit; any for None."""
        place = random.random()  # noqa: S311  a split, not a secret
        if unit is not None:
            digest = hashlib.sha256(f"{self._salt}\0{unit}".encode("utf-8", "surrogatepass"))
            place = int.from_bytes(digest.digest()[:8]) / 2**64
        return next(i for i, limit in enumerate(self._limits) if place < limit or limit >= 1)

    def route_raw(self, message: Any) -> Any:
        """The choice, as a SeldonMessage of the kind of the request: proto or JSON.

        Args:
            message: whose tag is read; a text, a number or a truth value.
        """
        is_proto = isinstance(message, prediction_pb2.SeldonMessage)
        request: Mapping[str, Any] = payload.to_python(message) if is_proto else message
        meta = request.get("meta")
        tags = meta.get("tags") if isinstance(meta, dict) else None
        unit = tags.get(self._key) if isinstance(tags, dict) else None
        if isinstance(unit, float) and unit.is_integer():
            unit = int(unit)  # protobuf makes a float of every number
        child = self.choose(None if unit is None else str(unit))
        if is_proto:
            answer = prediction_pb2.SeldonMessage()
            answer.data.tensor.shape.extend([1, 1])
            answer.data.tensor.values.append(child)
            return answer
        return {"data": {"ndarray": [[child]]}}

    def send_feedback_raw(self, message: Any) -> prediction_pb2.SeldonMessage:
        """Learn nothing: the executor gives a router the feedback of its children, too."""
        return prediction_pb2.SeldonMessage()

    def health_status(self) -> str:
        """Always healthy: it has nothing to load."""
        return "healthy"
