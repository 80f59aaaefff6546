"""Every error of this package; each message is one sentence for the person who can act on it.

ABError
├── DataError        the reviews or truths can't be read, or do not fit the record
├── RecordError      a record can't be read, belongs to another run, or is in use
├── EndpointError    an address can't be understood
└── AnalysisError    the record does not hold what the analysis needs
"""

from __future__ import annotations

USAGE = 2
"""Exit code of all of them, and of wrong options: 1 means a worse model, see `ab.report.gate`."""


class ABError(Exception):
    """Base of all errors raised by this package.

    Args:
        message: one or two plain sentences.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message


class DataError(ABError):
    """The reviews or truths can't be read, or do not fit the record."""


class RecordError(ABError):
    """A record can't be read, belongs to another run, or is in use."""


class EndpointError(ABError):
    """An address can't be understood."""


class AnalysisError(ABError):
    """The record does not hold what the analysis needs."""
