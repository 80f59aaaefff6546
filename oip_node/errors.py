"""The project's errors as MLServer's: HTTP status, gRPC code and sentence."""

from __future__ import annotations

import logging

import grpc
from mlserver.errors import MLServerError

from roberta_sentiment.errors import OverloadedError, SentimentError
from roberta_sentiment.serving.grpc_status import code_of


class ServingError(MLServerError):  # type: ignore[misc]  # upstream is untyped
    """One of our errors, as MLServer answers it.

    Attributes:
        code: the gRPC code that means the same as the HTTP status.
        retry_after: seconds after which a new try makes sense, where that is known.
    """

    def __init__(self, error: SentimentError) -> None:
        super().__init__(error.message, error.http_status)
        self.retry_after = error.retry_after
        self.code = (
            grpc.StatusCode.RESOURCE_EXHAUSTED
            if isinstance(error, OverloadedError)
            else code_of(error.http_status)
        )


class OneSentence(logging.Filter):
    """Logs an error of ours as its sentence, where MLServer would log its stack trace.

    A client that sends nonsense would fill the log; a failed inference is logged with its trace
    already.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the record, changed if it is about an error of ours."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, MLServerError):
            record.exc_info = record.exc_text = None
            record.msg, record.args = str(error), ()
        return True
