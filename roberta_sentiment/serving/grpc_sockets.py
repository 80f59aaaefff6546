"""The TCP connections of this process: gRPC does not expose its own."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
from collections import Counter
from collections.abc import Iterator, Mapping

_DESCRIPTORS = "/proc/self/fd"
_RECEIVED_AT = 128
"""Offset of `tcpi_bytes_received`, 8 bytes, in the kernel's `struct tcp_info`."""


def tcp_sockets() -> Iterator[socket.socket]:
    """Each TCP socket of this process, as a copy that is closed afterwards."""
    for name in os.listdir(_DESCRIPTORS):  # noqa: PTH208
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                with socket.socket(fileno=os.dup(int(name))) as opened:
                    if opened.family in (socket.AF_INET, socket.AF_INET6):
                        yield opened


def bytes_received() -> Mapping[int, int]:
    """Bytes that connections have received so far, by the client's port.

    Empty where the kernel does not say, as in some sandboxes.
    """
    received: Counter[int] = Counter()
    for opened in tcp_sockets():
        with contextlib.suppress(OSError, struct.error):
            info = opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RECEIVED_AT + 8)
            received[opened.getpeername()[1]] += struct.unpack_from("Q", info, _RECEIVED_AT)[0]
    return received


def port_of(peer: str) -> int:
    """Port of gRPC's name of a peer, as in ipv4:127.0.0.1:50000; 0 for a Unix socket."""
    port = peer.rpartition(":")[2]
    return int(port) if port.isdecimal() else 0
