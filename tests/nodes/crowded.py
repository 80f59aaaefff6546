"""A node whose gRPC workers find their private sockets taken."""

from __future__ import annotations

import socket

from Model import Model
from seldon_node.health import WorkerHealth


class Crowded(Model):
    """As Model, but the main process listens where the workers want to."""

    @property
    def workers(self) -> WorkerHealth | None:
        """What the wrapper's repairs give to the node."""
        return self._workers

    @workers.setter
    def workers(self, workers: WorkerHealth | None) -> None:
        self._workers = workers
        self._taken = socket.socket(socket.AF_UNIX)
        if workers is not None:
            self._taken.bind(f"\0{workers.private_address(0)}")
            self._taken.listen()
