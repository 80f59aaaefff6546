"""What the server processes know of each other's health, in shared memory."""

from __future__ import annotations

import mmap
import os
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

    Args:
        grpc_addresses: private address of every gRPC worker that should run.
    """

    def __init__(self, grpc_addresses: list[str]) -> None:
        self.board = Board()
        self._grpc_addresses = grpc_addresses

    def complaint(self) -> str:
        """What is wrong with them in a few words, empty if nothing is."""
        silent = sum(not speaks_http2(address) for address in self._grpc_addresses)
        if silent:
            return f"{silent} of {len(self._grpc_addresses)} gRPC workers do not answer"
        if self.board.failing():
            return "the last inference of another worker failed"
        return ""


def private_address(service: int, worker: int) -> str:
    """Abstract Unix socket on which a gRPC worker can be asked alone.

    The workers share one TCP port, where the kernel picks who answers.

    Args:
        service: pid of the main process.
        worker: index of the worker.
    """
    return f"sentiment-node-{service}-grpc-{worker}"


def speaks_http2(address: str, timeout: float = 1.0) -> bool:
    """Whether a server on an abstract Unix socket answers the opening of HTTP/2.

    It is answered by the gRPC library itself, so a worker busy with requests counts as alive.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect("\0" + address)
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
