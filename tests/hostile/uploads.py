"""A client that sends large gRPC messages and holds back the last byte of each."""

from __future__ import annotations

import contextlib
import dataclasses
import struct
import threading
import time
from collections.abc import Iterator

from tests.hostile.attacks import PREFACE, connect, frame
from tests.service import Service

_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _WINDOW = 0, 1, 3, 4, 6, 8
_END_HEADERS = 4
_PIECE = 16_384
_FIRST_WINDOW = 65_535


def _header(name: bytes, value: bytes) -> bytes:
    """A header that is not to be remembered, without compression."""
    return bytes([0, len(name)]) + name + bytes([len(value)]) + value


_CALL = b"\x83\x86" + b"".join(  # POST, http
    _header(name, value)
    for name, value in {
        b":path": b"/seldon.protos.Seldon/Predict",
        b":authority": b"localhost",
        b"te": b"trailers",
        b"content-type": b"application/grpc",
    }.items()
)


@dataclasses.dataclass
class _Stream:
    """A message in transit: bytes that the server lets the client send, and bytes to be sent."""

    window: int
    left: int


class Upload:
    """One connection on which messages are sent side by side, as fast as the server lets it.

    Args:
        port: of gRPC.
        messages: how many.
        size: bytes of each.

    Attributes:
        ended: how many the server has ended.
    """

    def __init__(self, port: int, messages: int, size: int) -> None:
        self.ended = 0
        self._size = size
        self._connection = connect(port)
        self._window = self._first_window = _FIRST_WINDOW
        self._streams = {1 + 2 * i: _Stream(_FIRST_WINDOW, size + 4) for i in range(messages)}
        calls = (frame(_HEADERS, _END_HEADERS, stream, _CALL) for stream in self._streams)
        self._connection.sendall(PREFACE + b"".join(calls))

    def run(self, over: threading.Event) -> None:
        """Send until the connection or the attack ends."""
        received = b""
        with contextlib.suppress(OSError), self._connection as connection:
            while not over.is_set():
                connection.settimeout(5)
                self._send()
                connection.settimeout(0.01)
                with contextlib.suppress(TimeoutError):
                    received = self._read(received + connection.recv(2**16))

    def _send(self) -> None:
        for number, stream in self._streams.items():
            size = min(stream.window, stream.left, self._window, _PIECE)
            if size > 0:
                content = bytes(size)
                if stream.left == self._size + 4:
                    content = bytes(1) + struct.pack(">I", self._size) + bytes(size - 5)
                self._connection.sendall(frame(_DATA, 0, number, content))
                stream.window -= size
                stream.left -= size
                self._window -= size

    def _read(self, received: bytes) -> bytes:
        """Obey the frames that have come; return what is left."""
        while len(received) >= 9 + int.from_bytes(received[:3]):
            end = 9 + int.from_bytes(received[:3])
            self._obey(received[3], received[4], int.from_bytes(received[5:9]), received[9:end])
            received = received[end:]
        return received

    def _obey(self, kind: int, flags: int, number: int, content: bytes) -> None:
        if kind == _WINDOW:
            self._widen(number, int.from_bytes(content))
        elif kind == _SETTINGS and not flags:
            for name, value in struct.iter_unpack(">HI", content):
                if name == 4:  # SETTINGS_INITIAL_WINDOW_SIZE
                    for stream in self._streams.values():
                        stream.window += value - self._first_window
                    self._first_window = value
            self._connection.sendall(frame(_SETTINGS, 1, 0, b""))
        elif kind == _PING and not flags:
            self._connection.sendall(frame(_PING, 1, 0, content))
        elif kind in (_HEADERS, _RESET) and number in self._streams:
            del self._streams[number]
            self.ended += 1

    def _widen(self, number: int, size: int) -> None:
        if number == 0:
            self._window += size
        elif number in self._streams:
            self._streams[number].window += size


@contextlib.contextmanager
def uploading(
    service: Service, connections: int, messages: int, size: int
) -> Iterator[list[Upload]]:
    """Messages on each of several connections, none of which arrives whole."""
    uploads = [Upload(service.grpc, messages, size) for _ in range(connections)]
    over = threading.Event()
    threads = [threading.Thread(target=upload.run, args=(over,), daemon=True) for upload in uploads]
    for thread in threads:
        thread.start()
    try:
        yield uploads
    finally:
        over.set()
        for thread in threads:
            thread.join()


def wait_for_ends(uploads: list[Upload], least: int, limit_s: float) -> int:
    """Wait until the server has ended so many messages; how many it has."""
    deadline = time.monotonic() + limit_s
    while sum(upload.ended for upload in uploads) < least and time.monotonic() < deadline:
        time.sleep(0.05)
    return sum(upload.ended for upload in uploads)
