"""Every error of the project, each with its HTTP status and its reason.

SentimentError                      500 INTERNAL_ERROR
├── StartError                      the process must not start; the message is one sentence
│   ├── SettingsError               a parameter or variable is unknown, wrong or contradicts another
│   ├── ArtifactError               a model directory or a file in it is missing, damaged or unfit
│   │   └── ChecksumError           a file differs from what the manifest says
│   ├── GraphError                  the ONNX graph is not one that this project can serve
│   └── DeviceError                 the GPU that was asked for is not there, or can't run the model
├── DataError                       a file of texts can't be read (tools only)
├── QualityError                    a derived model is not good enough (tools only)
│   └── ConversionError             a converted graph is not the model it was made from
│       ├── NamesDifferError        its inputs or outputs have other names
│       ├── AxesDifferError         an axis is fixed that must be free, or the other way round
│       ├── ShapesDifferError       it answers in another shape
│       └── ValuesDifferError       it answers with other numbers
├── RequestError                    400 BAD_REQUEST: the caller can fix it
│   ├── PayloadError                400 BAD_PAYLOAD: wrong kind, type or shape
│   ├── TextError                   400 BAD_TEXT: a text that can't be read as text
│   ├── TokenIdError                400 BAD_TOKEN_IDS
│   ├── OptionError                 400 BAD_OPTION
│   ├── TextTooLongError            400 TEXT_TOO_LONG: only when truncation is "error"
│   ├── FeedbackError               400 BAD_FEEDBACK
│   ├── TooManyTextsError           413 TOO_MANY_TEXTS
│   ├── TooManyCharactersError      413 TOO_MANY_CHARACTERS
│   ├── TextTooLargeError           413 TEXT_TOO_LARGE: it can be neither cut nor read as a whole
│   ├── TooManyTokensError          413 TOO_MANY_TOKENS: all texts together, each window counted
│   ├── TooManyWindowsError         413 TOO_MANY_WINDOWS: only when truncation is "windows"
│   └── BodyTooLargeError           413 BODY_TOO_LARGE
├── NotReadyError                   503 NOT_READY: still loading, or the last inference failed
├── OverloadedError                 503 OVERLOADED: the queue is full; carries retry_after
├── DroppedError                    waiting work was dropped; carries its tokens
│   ├── CallerGoneError             499 CALLER_GONE: nobody waits for the answer
│   ├── DeadlineError               504 DEADLINE_EXCEEDED: the caller's own deadline has passed
│   └── TimeLimitError              503 TIME_LIMIT: no answer within request_timeout
└── InferenceError                  500 INFERENCE_FAILED: our own fault

A message says what was wrong, where, the limit, the actual value and the setting that changes
it. It never holds a path of the server, nor a stack trace, when it can reach a caller, and then it
has at most 300 characters, whatever the caller sent.
"""

from __future__ import annotations

from typing import ClassVar

LONGEST_SENTENCE = 300
"""Characters of a sentence that can reach a caller; gRPC carries it in a header of 8 kB."""


OWN_FAULT = "the server failed; its log has the details"
"""All that a caller learns of an unexpected failure."""

_GRPC_CODES = {
    400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 413: "RESOURCE_EXHAUSTED",
    422: "FAILED_PRECONDITION", 499: "CANCELLED", 501: "UNIMPLEMENTED", 503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}  # fmt: skip


def grpc_code(http_status: int) -> str:
    """Name of the gRPC code that means the same as an HTTP status."""
    return _GRPC_CODES.get(http_status, "INTERNAL")


def shorten(text: str, most: int = LONGEST_SENTENCE) -> str:
    """A text of at most so many characters; a longer one loses its middle.

    A sentence begins with what was wrong and ends with the way out.
    """
    if len(text) <= most:
        return text
    tail = most // 3
    return f"{text[: most - tail - 3]}...{text[-tail:]}"


class SentimentError(Exception):
    """Base of all errors raised by this project.

    Args:
        message: one or two plain sentences for the person who can act on them.
    """

    http_status: ClassVar[int] = 500
    reason: ClassVar[str] = "INTERNAL_ERROR"
    longest: ClassVar[int] = LONGEST_SENTENCE
    retry_after: int | None = None
    """Seconds after which a new try makes sense, where that is known."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = shorten(message, self.longest)

    def __str__(self) -> str:
        return self.message


_LONGEST_WITH_PATHS = 4_000
"""For an operator, who needs a path as a whole."""


class StartError(SentimentError):
    """The process must not start."""

    reason = "START_FAILED"
    longest = _LONGEST_WITH_PATHS


class SettingsError(StartError):
    """A setting is unknown, out of range or contradicts another."""

    reason = "BAD_SETTING"


class ArtifactError(StartError):
    """A model directory, or a file in it, is missing, damaged or unfit."""

    reason = "BAD_MODEL"


class ChecksumError(ArtifactError):
    """A file differs from what the manifest says of it."""

    reason = "CHECKSUM_MISMATCH"


class GraphError(StartError):
    """The ONNX graph can't be served, or a change to it can't be made safely."""

    reason = "BAD_GRAPH"


class DeviceError(StartError):
    """The device that was asked for is not there, or can't run the model."""

    reason = "BAD_DEVICE"


class DataError(SentimentError):
    """A file of texts or labels that can't be read."""

    reason = "BAD_DATA"
    longest = _LONGEST_WITH_PATHS


class QualityError(SentimentError):
    """A derived model differs from its original by more than allowed."""

    reason = "NOT_GOOD_ENOUGH"
    longest = _LONGEST_WITH_PATHS


class ConversionError(QualityError):
    """A converted graph is not the model it was made from."""


class NamesDifferError(ConversionError):
    """Inputs or outputs have other names than expected."""


class AxesDifferError(ConversionError):
    """An axis is fixed that must be free, or the other way round."""


class ShapesDifferError(ConversionError):
    """The answer has another shape than PyTorch's."""


class ValuesDifferError(ConversionError):
    """The answer has other numbers than PyTorch's."""


class RequestError(SentimentError):
    """A request that the caller can fix."""

    http_status = 400
    reason = "BAD_REQUEST"


class PayloadError(RequestError):
    """The payload is of the wrong kind, type or shape."""

    reason = "BAD_PAYLOAD"


class TextError(RequestError):
    """A text that can't be read as text."""

    reason = "BAD_TEXT"


class TokenIdError(RequestError):
    """Numbers that are not token ids of this model."""

    reason = "BAD_TOKEN_IDS"


class OptionError(RequestError):
    """A request option is unknown or has a value that is not allowed."""

    reason = "BAD_OPTION"


class FeedbackError(RequestError):
    """Feedback that can't be matched with a request, a truth or a reward."""

    reason = "BAD_FEEDBACK"


class TextTooLongError(RequestError):
    """A text is longer than the model and truncation is "error".

    Args:
        position: index of the text in its request.
        tokens: its length in tokens, special tokens included.
        limit: what the model takes, special tokens included.
        at_least: the text was not read to its end.
    """

    reason = "TEXT_TOO_LONG"

    def __init__(self, position: int, tokens: int, limit: int, *, at_least: bool = False) -> None:
        count = f"at least {tokens}" if at_least else str(tokens)
        super().__init__(
            f"text {position} has {count} tokens, the limit is {limit} (setting max_tokens); "
            'shorten it or use truncation "end", "start", "middle" or "windows"'
        )


class TooManyTextsError(RequestError):
    """A request holds more texts than the server takes at once."""

    http_status = 413
    reason = "TOO_MANY_TEXTS"

    def __init__(self, texts: int, limit: int) -> None:
        super().__init__(
            f"the request holds {texts} texts, the limit is {limit} (setting max_texts); "
            "send them in several requests"
        )


class TooManyCharactersError(RequestError):
    """The texts of a request are together longer than the server takes at once."""

    http_status = 413
    reason = "TOO_MANY_CHARACTERS"

    def __init__(self, position: int, characters: int, limit: int) -> None:
        super().__init__(
            f"up to text {position} the request holds {characters} characters, the limit is "
            f"{limit} (setting max_characters); send the texts in several requests"
        )


class TextTooLargeError(RequestError):
    """A text of megabytes is one endless word, so that no part of it decides its tokens.

    Args:
        position: index of the text in its request.
        limit: bytes of UTF-8 up to which a text is read as a whole.
    """

    http_status = 413
    reason = "TEXT_TOO_LARGE"

    def __init__(self, position: int, limit: int) -> None:
        super().__init__(
            f"text {position} is one word of more than {limit} bytes, which can't be cut as asked; "
            'shorten it or use truncation "end"'
        )


class TooManyTokensError(RequestError):
    """The texts of a request have together more tokens than one request may have.

    Args:
        position: index of the text at which the limit was passed.
        tokens: up to and with that text, special tokens included and each window counted.
        limit: the most that one request may have.
    """

    http_status = 413
    reason = "TOO_MANY_TOKENS"

    def __init__(self, position: int, tokens: int, limit: int) -> None:
        super().__init__(
            f"up to text {position} the request has {tokens} tokens for the model, the limit is "
            f"{limit} (setting max_request_tokens); send the texts in several requests"
        )


class TooManyWindowsError(RequestError):
    """A text needs more windows than one text may have.

    Args:
        position: index of the text in its request.
        limit: the most that one text may have.
    """

    http_status = 413
    reason = "TOO_MANY_WINDOWS"

    def __init__(self, position: int, limit: int) -> None:
        super().__init__(
            f"text {position} needs more than {limit} windows, the limit (setting max_windows); "
            'send it in parts or use truncation "end", "start" or "middle"'
        )


class BodyTooLargeError(RequestError):
    """The body of an HTTP request is larger than the server reads.

    Args:
        limit: bytes.
    """

    http_status = 413
    reason = "BODY_TOO_LARGE"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"the body is larger than {limit} bytes (setting max_body_bytes); "
            "send the texts in several requests"
        )


class NotReadyError(SentimentError):
    """The model is still loading, or its last inference failed."""

    http_status = 503
    reason = "NOT_READY"


class OverloadedError(SentimentError):
    """The queue for the model is full.

    Args:
        message: what is full, and how full.
        retry_after: seconds after which a new try makes sense.
    """

    http_status = 503
    reason = "OVERLOADED"

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DroppedError(SentimentError):
    """A request ended before its answer, and what still waited for it was dropped.

    Attributes:
        tokens: that waited for the model and were not run.
    """

    tokens = 0


class CallerGoneError(DroppedError):
    """The caller has left."""

    http_status = 499
    reason = "CALLER_GONE"

    def __init__(self) -> None:
        super().__init__("the caller has left")


class DeadlineError(DroppedError):
    """The deadline that the caller has set has passed."""

    http_status = 504
    reason = "DEADLINE_EXCEEDED"

    def __init__(self) -> None:
        super().__init__("the caller's deadline has passed; give more time or send fewer texts")


class TimeLimitError(DroppedError):
    """A request took longer than the server lets one take.

    Args:
        limit: seconds.
    """

    http_status = 503
    reason = "TIME_LIMIT"

    def __init__(self, limit: float) -> None:
        super().__init__(
            f"no answer within {limit:g} s (setting request_timeout); send fewer texts at once, "
            "or try again later"
        )


class InferenceError(SentimentError):
    """The model failed on a valid request."""

    reason = "INFERENCE_FAILED"


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
