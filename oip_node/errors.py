"""The project's errors as MLServer's: HTTP status and sentence."""

from __future__ import annotations

import logging

from mlserver.errors import MLServerError

from roberta_sentiment.errors import SentimentError


class ServingError(MLServerError):  # type: ignore[misc]  # upstream is untyped
    """One of our errors, as MLServer answers it.

    Attributes:
        retry_after: seconds after which a new try makes sense, of overload; else None.
    """

    def __init__(self, error: SentimentError) -> None:
        super().__init__(error.message, error.http_status)
        self.retry_after = error.retry_after


class OneSentence(logging.Filter):
    """Logs an error as its sentence, where MLServer would log its stack trace.

    A refused request is not logged: clients that send nonsense, or too much, would fill the log. A
    failed inference is logged with its trace already.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to keep the record, which is changed if it is about an error of the server."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, MLServerError):
            record.exc_info = record.exc_text = None
            record.msg, record.args = str(error), ()
            return bool(error.status_code == 500)
        return True
