"""The poller: what is in the map is waited for, and no more."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from seldon_node.rest_poller import READ, WRITE, Poller


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_new_handler_is_read_from(pair: tuple[socket.socket, socket.socket]) -> None:
    """What is put into the map gets an event once there is data, and none before."""
    ours, theirs = pair
    poller = Poller()
    poller[ours.fileno()] = "handler"
    assert poller.wait(0) == []
    theirs.send(b"x")
    assert poller.wait(1) == [("handler", READ)]


def test_other_events(pair: tuple[socket.socket, socket.socket]) -> None:
    """`watch` changes what is waited for; 0 hides even the other side's end."""
    ours, theirs = pair
    poller = Poller()
    poller[ours.fileno()] = "handler"
    poller.watch(ours.fileno(), WRITE)
    assert poller.wait(1) == [("handler", WRITE)]
    poller.watch(ours.fileno(), 0)
    theirs.close()
    assert poller.wait(0) == []
    assert poller.watched(ours.fileno()) == 0
    poller.watch(ours.fileno(), READ)
    assert poller.wait(1)[0][1] & READ


def test_what_is_taken_out_is_forgotten(pair: tuple[socket.socket, socket.socket]) -> None:
    """A descriptor that another process still holds brings no events once it is out of the map."""
    ours, theirs = pair
    poller = Poller()
    poller[ours.fileno()] = "handler"
    with ours.dup():  # as a socket that workers inherit
        del poller[ours.fileno()]
        theirs.send(b"x")
        assert poller.wait(0) == []
        assert dict(poller) == {}
