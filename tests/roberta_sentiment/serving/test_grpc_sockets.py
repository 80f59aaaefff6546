"""The TCP connections of this process, seen from outside gRPC."""

from __future__ import annotations

import socket

import pytest

from roberta_sentiment.serving import grpc_sockets


def test_bytes_received() -> None:
    """By the client's port, read by the program or not; nothing after the end."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
    ):
        served, (_, port) = listener.accept()
        with served:
            client.sendall(bytes(1000))
            assert bytes(600) == served.recv(600, socket.MSG_WAITALL)
            client.sendall(bytes(500))
            served.recv(900, socket.MSG_WAITALL | socket.MSG_PEEK)
            assert 1500 == grpc_sockets.bytes_received()[port]
    assert port not in grpc_sockets.bytes_received()


@pytest.mark.parametrize(
    ("peer", "port"),
    [
        pytest.param("ipv4:127.0.0.1:50000", 50000, id="IPv4"),
        pytest.param("ipv6:%5B::1%5D:50001", 50001, id="IPv6"),
        pytest.param("ipv6:[::ffff:127.0.0.1]:50002", 50002, id="IPv4 in IPv6"),
        pytest.param("unix-abstract:sentiment", 0, id="Unix socket"),
        pytest.param("unix:", 0, id="no name"),
    ],
)
def test_port_of_a_peer(peer: str, port: int) -> None:
    """A connection is recognised by its client's port."""
    assert port == grpc_sockets.port_of(peer)
