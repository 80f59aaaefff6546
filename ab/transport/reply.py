"""How a call ended, over REST and gRPC alike."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Protocol

from ab.wire import Message


class Outcome(enum.StrEnum):
    """How a call ended."""

    ANSWERED = "answered"
    UNREACHABLE = "unreachable"
    """No connection: the server did not see the request."""
    REFUSED = "refused"
    """The server says that it is overloaded or not ready: it did not execute the request."""
    REJECTED = "rejected"
    """The request is wrong; sending it again changes nothing."""
    FAILED = "failed"
    """An error of the server or of a proxy: the request may have been executed."""
    TIMEOUT = "timeout"
    CUT = "cut"
    """The connection broke after the request was sent, or the answer is damaged."""


_NOT_EXECUTED = frozenset({Outcome.UNREACHABLE, Outcome.REFUSED, Outcome.REJECTED})
_FINAL = frozenset({Outcome.ANSWERED, Outcome.REJECTED})


@dataclasses.dataclass(frozen=True)
class Reply:
    """The end of one call.

    Attributes:
        outcome: how it ended.
        status: HTTP status or gRPC code; empty without an answer.
        message: what came back in its JSON form; empty without JSON.
        detail: what went wrong, for people.
        retry_after: seconds the server asks to wait. Over gRPC, and through Seldon's executor also
            over REST, that header is lost.
    """

    outcome: Outcome
    status: str = ""
    message: Mapping[str, object] = dataclasses.field(default_factory=dict)
    detail: str = ""
    retry_after: float | None = None

    @property
    def may_have_run(self) -> bool:
        """Whether the server may have executed the request."""
        return self.outcome not in _NOT_EXECUTED

    @property
    def may_have_drawn(self) -> bool:
        """Whether the endpoint may have chosen a model for the request."""
        return self.outcome is not Outcome.UNREACHABLE

    @property
    def is_final(self) -> bool:
        """Whether another try is pointless."""
        return self.outcome in _FINAL


class Transport(Protocol):
    """A connection to one endpoint, usable from several threads."""

    def predict(self, message: Message) -> Reply:
        """Send a request."""

    def feedback(self, message: Message) -> Reply:
        """Send feedback. Its answer means nothing: the executor may echo the body."""

    def disconnect(self) -> None:
        """Drop this thread's connections: another request's answer may still come over them."""

    def close(self) -> None:
        """Close all connections."""
