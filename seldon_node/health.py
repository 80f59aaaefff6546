"""What the server processes know of each other's health, in shared memory."""

from __future__ import annotations

import mmap
import os
import secrets
import socket

_SLOTS = 1024
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_SETTINGS_FRAME = 4


class Board:
    """Which processes of this service have a failing model.

    Made before the wrapper forks its servers, so that all of them see the same memory, which has
    no file anywhere. A process writes its pid into its own slot only, which needs no lock.
    """

    def __init__(self) -> None:
        self._failing = memoryview(mmap.mmap(-1, 4 * _SLOTS)).cast("i")

    def report(self, *, failing: bool) -> None:
        """Say whether the model of this process fails."""
        pid = os.getpid()
        self._failing[pid % _SLOTS] = pid if failing else 0

    def failing(self) -> list[int]:
        """Pids of living processes whose model fails."""
        return [pid for pid in set(self._failing) if pid and _is_alive(pid)]


class Peers:
    """The processes of this service that are not gunicorn's to watch.

    Made before the wrapper forks its servers.

    Args:
        grpc_workers: how many gRPC workers should run.
        grpc_port: TCP port that they share.
    """

    def __init__(self, grpc_workers: int, grpc_port: int) -> None:
        self.board = Board()
        # Containers of a pod share these names, and each has processes of the same pids.
        service = secrets.token_hex(16)
        self._private = [f"sentiment-node-{service}-grpc-{i}" for i in range(grpc_workers)]
        self._port = grpc_port
        self._unbound = memoryview(mmap.mmap(-1, max(1, grpc_workers)))

    def private_address(self, worker: int) -> str:
        """Abstract Unix socket on which a gRPC worker can be asked alone.

        The workers share one TCP port, where the kernel picks who answers.
        """
        return self._private[worker]

    def note_private(self, worker: int, *, bound: bool) -> None:
        """Say whether a gRPC worker listens on its private address; else its port is asked."""
        self._unbound[worker] = not bound

    def complaint(self) -> str:
        """What is wrong with them in a few words, empty if nothing is."""
        silent = sum(
            not speaks_http2(("127.0.0.1", self._port) if unbound else f"\0{address}")
            for address, unbound in zip(self._private, self._unbound, strict=False)
        )
        if silent:
            return f"{silent} of {len(self._private)} gRPC workers do not answer"
        if self.board.failing():
            return "the last inference of another worker failed"
        return ""


def speaks_http2(address: str | tuple[str, int], timeout: float = 1.0) -> bool:
    """Whether a server on a Unix or TCP socket answers the opening of HTTP/2.

    It is answered by the gRPC library itself, so a worker busy with requests counts as alive.
    """
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(address)
            connection.sendall(_PREFACE)
            header = connection.recv(9, socket.MSG_WAITALL)
    except OSError:
        return False
    return len(header) == 9 and header[3] == _SETTINGS_FRAME


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
