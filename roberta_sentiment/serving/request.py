"""Options of a request, and checks of its texts and token ids."""

from __future__ import annotations

import base64
import binascii
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from roberta_sentiment.errors import (
    OptionError,
    PayloadError,
    TextError,
    TokenIdError,
    TooManyCharactersError,
    TooManyTextsError,
)
from roberta_sentiment.model.heads import Head
from roberta_sentiment.predictions import Predictions, TextClassifier
from roberta_sentiment.serving.wording import brief, describe
from roberta_sentiment.settings import Output, Settings, Truncation
from roberta_sentiment.text.check import check_text

_LARGEST_ID = 2**63


@dataclasses.dataclass(frozen=True)
class Options:
    """What one request asks for beside its texts; None is the server's setting."""

    truncation: Truncation | None = None
    output: Output = "probabilities"
    top_k: int | None = None


def parse_options(options: object) -> Options:
    """Check the options of a request.

    Raises:
        OptionError: one is unknown or has a value that is not allowed.
    """
    if options is None:
        return Options()
    if not isinstance(options, dict):
        raise OptionError(f"options is {describe(options)}; an object is needed")
    known = [field.name for field in dataclasses.fields(Options)]
    for name in options:
        if name not in known:
            raise OptionError(f"unknown option {brief(name)}; known are {', '.join(known)}")
    _check_choice(options, "truncation", get_args(Truncation))
    _check_choice(options, "output", get_args(Output))
    top_k = options.get("top_k")
    if top_k is not None and not (is_whole(top_k) and top_k >= 1):
        raise OptionError(f"top_k is {describe(top_k)}; a whole number from 1 is needed")
    return Options(
        truncation=options.get("truncation"),
        output=options.get("output", "probabilities"),
        top_k=None if top_k is None else int(top_k),
    )


def check_output(output: Output, head: Head) -> None:
    """Refuse an output that the model does not have.

    Raises:
        OptionError: with what to ask for in its place.
    """
    if output == "logits" and head.in_graph:
        raise OptionError(
            "output is logits, but this model's graph ends in its activation and gives no logits; "
            "ask for probabilities"
        )
    if output == "label" and head.is_regression:
        raise OptionError(
            "output is label, but this model gives values and chooses no label; ask for "
            "probabilities, which are the values"
        )


def _check_choice(options: Mapping[str, Any], name: str, allowed: Sequence[str]) -> None:
    if name in options and options[name] not in allowed:
        raise OptionError(f"{name} is {describe(options[name])}; allowed are {', '.join(allowed)}")


def check_size(texts: Sequence[str], ids: Sequence[Sequence[int]], settings: Settings) -> None:
    """Check texts, and how much a request holds.

    Args:
        texts: n texts as they came, empty for a request of token ids.
        ids: n rows of token ids, empty for a request of texts.
        settings: the limits.

    Raises:
        RequestError: there is too much, or a text is not valid.
    """
    count = len(texts) or len(ids)
    if count > settings.max_texts:
        raise TooManyTextsError(count, settings.max_texts)
    characters = 0
    for position, text in enumerate(texts):
        _check_one(position, text)
        characters += len(text)
        if characters > settings.max_characters:
            raise TooManyCharactersError(position, characters, settings.max_characters)


def _check_one(position: int, text: object) -> None:
    if not isinstance(text, str):
        raise PayloadError(f"text {position} is {describe(text)}; a string is needed")
    check_text(position, text)


def from_base64(name: str, value: str | bytes) -> bytes:
    """What base64 stands for.

    Raises:
        PayloadError: it is none; the sentence begins with the name of the field.
    """
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise PayloadError(f"{name} is not valid base64: {error}") from None


def from_utf8(name: str, value: bytes) -> str:
    """The text that bytes hold.

    Raises:
        TextError: they are not UTF-8; the sentence begins with the name of the field.
    """
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TextError(
            f"{name} is not valid UTF-8: {error.reason} at byte {error.start}"
        ) from None


def token_rows(
    texts: int, length: int, values: Sequence[object], start: int = 0
) -> list[list[int]]:
    """Rows of token ids from (texts * length) numbers; `start` rows are before them.

    Raises:
        TokenIdError: a number is not whole.
    """
    return [
        [token_id(start + i, j, values[i * length + j]) for j in range(length)]
        for i in range(texts)
    ]


def token_id(row: int, column: int, value: object) -> int:
    """A token id that came as any number.

    Raises:
        TokenIdError: it is not a whole number.
    """
    if not is_whole(value) or not abs(value) < _LARGEST_ID:  # type: ignore[arg-type]
        raise TokenIdError(
            f"row {row}, column {column}: {describe(value)} is not a token id; "
            "a whole number is needed"
        )
    return int(value)  # type: ignore[call-overload, no-any-return]  # is_whole saw a number


def is_number(value: object) -> bool:
    """Whether a value of JSON is a number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_whole(value: object) -> bool:
    """Whether a value of JSON is a whole number, however it is written."""
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, int) and not isinstance(value, bool)


def score(
    model: TextClassifier,
    texts: Sequence[str],
    ids: Sequence[Sequence[int]],
    options: Options,
) -> Predictions:
    """Score what a request holds: its token ids, or else its texts."""
    return model.classify_ids(ids) if ids else model.classify(texts, options.truncation)
