"""The errors of the A/B tool besides `roberta_sentiment.errors.DataError`; each is one sentence.

SentimentError
├── DataError        the reviews or truths can't be read, or do not fit the record
├── RecordError      a record can't be read, belongs to another run, or is in use
├── EndpointError    an address can't be understood
└── AnalysisError    the record does not hold what the analysis needs
"""

from __future__ import annotations

from roberta_sentiment.errors import SentimentError

USAGE = 2
"""Exit code of all of them, and of wrong options: 1 means a worse model, see `ab.report.gate`."""


class RecordError(SentimentError):
    """A record can't be read, belongs to another run, or is in use."""


class EndpointError(SentimentError):
    """An address can't be understood."""


class AnalysisError(SentimentError):
    """The record does not hold what the analysis needs."""
