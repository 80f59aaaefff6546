"""The tree of errors: what each means over HTTP and gRPC, and how long a sentence may be."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from roberta_sentiment import errors
from roberta_sentiment.errors import (
    ArtifactError,
    OverloadedError,
    SentimentError,
    TextError,
    first_line,
    grpc_code,
    shorten,
)


def kinds(base: type[SentimentError] = SentimentError) -> Iterator[type[SentimentError]]:
    for kind in base.__subclasses__():
        yield kind
        yield from kinds(kind)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """Each class stands there once, and each status as the class has it."""
    lines = re.findall(r"(\w+Error) +(\d{3})?", errors.__doc__ or "")
    ours = {kind for kind in kinds() if kind.__module__ == errors.__name__}
    assert {"SentimentError", *(kind.__name__ for kind in ours)} == {name for name, _ in lines}
    stated = {name: int(status) for name, status in lines if status}
    assert stated == {name: getattr(errors, name).http_status for name in stated}


def test_every_status_has_a_grpc_code() -> None:
    """Only our own faults are INTERNAL."""
    statuses = {kind.http_status for kind in kinds()}
    assert {500} == {status for status in statuses if grpc_code(status) == "INTERNAL"}


@pytest.mark.parametrize(("kind", "length"), [(TextError, 300), (ArtifactError, 4000)])
def test_a_long_sentence_loses_its_middle(kind: type[SentimentError], length: int) -> None:
    """What was wrong stands at its beginning, the way out at its end; operators see whole paths."""
    message = str(kind("wrong " + "x" * 10_000 + " way out"))
    assert length == len(message)
    assert message.startswith("wrong ")
    assert message.endswith(" way out")


@pytest.mark.parametrize(("expected", "most"), [("abcdefghi", 9), ("abc...hi", 8)])
def test_only_a_sentence_over_the_limit_is_shortened(expected: str, most: int) -> None:
    """What is left has the length that was asked for."""
    assert expected == shorten("abcdefghi", most)


def test_an_overloaded_server_says_when_to_come_back() -> None:
    """Other errors know no such time."""
    assert (2, None) == (OverloadedError("full", 2).retry_after, TextError("bad").retry_after)


@pytest.mark.parametrize(
    ("line", "error"),
    [("a", ValueError("a\nb")), ("a", ValueError("\n a ")), ("KeyError", KeyError())],
)
def test_an_error_says_something_in_one_line(line: str, error: Exception) -> None:
    """Libraries write pages, or nothing at all."""
    assert line == first_line(error)
