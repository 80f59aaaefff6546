"""Connections that only wait: the good client beside them is answered, and they end."""

from __future__ import annotations

import contextlib
import signal
import socket
from pathlib import Path

import pytest

from tests.hostile import attacks
from tests.hostile.good_client import GoodClient
from tests.served.test_lifecycle import grpc_answers
from tests.service import Service

pytestmark = pytest.mark.long

ATTACKS = [
    attacks.silent, attacks.silent_to_metrics, attacks.half_headers, attacks.half_bodies,
    attacks.not_reading, attacks.silent_to_grpc, attacks.idle_on_grpc,
    attacks.calls_without_message, attacks.pings, attacks.resets,
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_the_good_client_is_answered(
    target: Service, good: GoodClient, attack: attacks.Attack
) -> None:
    """All doors answer in time while it goes on."""
    with attack(target):
        good.wait_for_answers()
    good.check()


@pytest.mark.parametrize("attack", [attacks.half_headers, attacks.half_bodies])
def test_a_request_that_does_not_arrive_ends(target: Service, attack: attacks.Attack) -> None:
    """408 when the time for it is over, and the connection is closed."""
    with attack(target) as connections:
        answer = read_all(connections[0])
    assert answer.startswith((b"HTTP/1.1 408 ", b"HTTP/1.0 408 "))
    assert b"did not arrive whole in 3 s (setting arrival_timeout)" in answer


def test_more_connections_than_allowed(target: Service, good: GoodClient) -> None:
    """A new connection takes the place of one that is idle."""
    with attacks.sending(target.http, b"", 1200) as connections:
        good.wait_for_answers()
        connections[0].settimeout(0.1)
        assert b"" == connections[0].recv(1)
    good.check()


def test_sigterm_beside_all_of_them(hostile_toy_path: Path) -> None:
    """The service ends in time and cleanly, even while clients wait for it."""
    with (
        Service(MODEL_URI=str(hostile_toy_path)).start() as service,
        contextlib.ExitStack() as stack,
    ):
        service.wait_for(lambda: grpc_answers(service), "gRPC")
        for attack in ATTACKS[:8]:
            stack.enter_context(attack(service))
        service.process.send_signal(signal.SIGTERM)
        assert 0 == service.process.wait(20)
        assert [] == service.processes()


def read_all(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    pieces = []
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)
