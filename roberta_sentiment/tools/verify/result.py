"""What a check found."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping


class Status(enum.StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclasses.dataclass(frozen=True)
class Result:
    """What a check found.

    Attributes:
        status: how it ended.
        message: what was seen, or why it failed or was skipped.
        facts: figures, for a program.
    """

    status: Status
    message: str
    facts: Mapping[str, object] = dataclasses.field(default_factory=dict)


def passed(message: str, **facts: object) -> Result:
    """The model is right in this."""
    return Result(Status.PASSED, message, facts)


def failed(message: str, **facts: object) -> Result:
    """The model is wrong in this."""
    return Result(Status.FAILED, message, facts)


def skipped(message: str) -> Result:
    """There is nothing to check."""
    return Result(Status.SKIPPED, message)
