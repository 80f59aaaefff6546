"""What a loop of waitress waits for, kept in one epoll.

waitress's own loop asks every connection before every wait, which costs more the more there are.
"""

from __future__ import annotations

import select
from typing import Any

READ, WRITE = select.EPOLLIN, select.EPOLLOUT


class Poller(dict[int, Any]):
    """A map of wasyncore, from file descriptors to what handles their events.

    What is put into it is waited for with `READ`, until `watch` says something else.
    """

    def __init__(self) -> None:
        super().__init__()
        self._epoll = select.epoll()
        self._watched: dict[int, int] = {}

    def __setitem__(self, descriptor: int, handler: Any) -> None:
        super().__setitem__(descriptor, handler)
        self.watch(descriptor, READ)

    def __delitem__(self, descriptor: int) -> None:
        self.watch(descriptor, 0)
        super().__delitem__(descriptor)

    def watch(self, descriptor: int, events: int) -> None:
        """Wait for these events from now on; 0 waits for none, not even for the end."""
        before = self._watched.get(descriptor, 0)
        self._watched[descriptor] = events
        if not events:
            del self._watched[descriptor]
            if before:
                self._epoll.unregister(descriptor)
        elif not before:
            self._epoll.register(descriptor, events)
        elif events != before:
            self._epoll.modify(descriptor, events)

    def watched(self, descriptor: int) -> int:
        """Events that are waited for."""
        return self._watched.get(descriptor, 0)

    def wait(self, timeout_s: float) -> list[tuple[Any, int]]:
        """Handlers that have something to do, with their events."""
        return [(self[descriptor], events) for descriptor, events in self._epoll.poll(timeout_s)]
