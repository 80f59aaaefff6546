"""Messages that arrive over gRPC, with a kernel that says what the test says."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest

from seldon_node.grpc_arrival import SLOW_S, Arrival, Arrivals

LIMIT = 1000
LONGEST_S = 30


class World:
    """A clock and connections; `refused` names the calls that were ended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.received: dict[int, int] = {}
        self.looks = 0
        self.refused: list[str] = []
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        self.arrivals = Arrivals(LIMIT, LONGEST_S, self._bytes_received)

    def _bytes_received(self) -> dict[int, int]:
        self.looks += 1
        return dict(self.received)

    def begin(self, name: str, port: int) -> Arrival:
        arrival = Arrival(port, self._refuse(name), started=self.now)
        self.arrivals.begin(arrival)
        return arrival

    def _refuse(self, name: str) -> Callable[[grpc.StatusCode, str], None]:
        return lambda code, info: self.refused.append(name)

    def look(self, after_s: float = 2 * SLOW_S) -> list[str]:
        self.now += after_s
        self.arrivals.enforce_limits()
        return sorted(self.refused)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_what_fits_is_left_alone(world: World) -> None:
    """Slow is not large."""
    world.begin("a", 1)
    world.received = {1: LIMIT}
    assert [] == world.look()


def test_the_connection_that_holds_most_is_refused(world: World) -> None:
    """And no other, if that is enough."""
    world.begin("a", 1)
    world.begin("b", 2)
    world.begin("c", 2)
    world.received = {1: 400, 2: 700}
    assert ["b", "c"] == world.look()


def test_as_many_as_needed_are_refused(world: World) -> None:
    """Until what is left fits."""
    for port, name in enumerate("abcd"):
        world.begin(name, port)
    world.received = {0: 600, 1: 900, 2: 500, 3: 800}
    assert ["a", "b", "d"] == world.look()


def test_a_quick_message_on_the_same_connection_is_not_refused(world: World) -> None:
    """It holds nothing yet: an executor sends everybody's messages on one connection."""
    world.begin("large", 1)
    world.received = {1: 2 * LIMIT}
    world.now += 2 * SLOW_S
    world.begin("quick", 1)
    assert ["large"] == world.look(after_s=0)


def test_whole_messages_count_no_longer(world: World) -> None:
    """What was received of them has been handed on."""
    slow = world.begin("slow", 1)
    for _ in range(5):
        world.arrivals.end(world.begin("quick", 1), 500)
    world.received = {1: 5 * 500 + 900}
    assert [] == world.look()
    world.arrivals.end(slow, 900)
    world.begin("next", 1)
    world.received = {1: 5 * 500 + 900 + LIMIT + 1}
    assert ["next"] == world.look()


def test_headers_of_an_old_connection_do_not_add_up(world: World) -> None:
    """Years of small calls leave no debt to the one that is slow at last."""
    world.arrivals.end(world.begin("quick", 1), 0)
    world.received = {1: 10**9}
    assert [] == world.look(after_s=2)
    world.begin("slow", 1)
    world.received = {1: 10**9 + LIMIT}
    assert [] == world.look()


def test_a_closed_connection_is_forgotten(world: World) -> None:
    """Another may have its port soon."""
    world.begin("a", 1)
    world.received = {1: 900}
    assert [] == world.look()
    world.received = {}
    assert [] == world.look()
    world.begin("b", 1)
    world.received = {1: LIMIT + 1}
    assert ["a", "b"] == world.look()


def test_a_kernel_that_says_nothing(world: World) -> None:
    """Then nothing is refused."""
    world.begin("a", 1)
    assert [] == world.look()


def test_a_message_that_takes_too_long_ends_once(world: World) -> None:
    """With the setting that says how long it may take; others have their own time."""
    world.begin("late", 1)
    assert [] == world.look(after_s=LONGEST_S)
    world.begin("later", 1)
    assert ["late"] == world.look(after_s=1)
    assert ["late"] == world.look(after_s=1)


def test_nothing_is_asked_while_nothing_is_slow(world: World) -> None:
    """But once a second, to know where the connections stand."""
    for _ in range(20):
        world.arrivals.end(world.begin("quick", 1), 10)
        world.look(after_s=SLOW_S)
    assert 1 <= world.looks <= 2
