"""A node whose gRPC workers find their private sockets taken."""

from __future__ import annotations

import socket

from Model import Model
from seldon_node.health import Peers


class Crowded(Model):
    """As Model, but the main process listens where the workers want to."""

    @property
    def peers(self) -> Peers | None:
        """What the wrapper's repairs give to the node."""
        return self._peers

    @peers.setter
    def peers(self, peers: Peers | None) -> None:
        self._peers = peers
        self._taken = socket.socket(socket.AF_UNIX)
        if peers is not None:
            self._taken.bind(f"\0{peers.private_address(0)}")
            self._taken.listen()
