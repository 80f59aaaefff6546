"""The fixes of MLServer that need no server to be seen."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("mlserver", reason="make test-oip runs these in an environment with MLServer")

import grpc
import mlserver
from mlserver.errors import MLServerError, ModelNotFound
from mlserver.registry import MultiModelRegistry

from oip_node import upstream
from oip_node.errors import OneSentence, ServingError
from roberta_sentiment.errors import (
    LONGEST_SENTENCE,
    DeadlineError,
    InferenceError,
    NotReadyError,
    OverloadedError,
    PayloadError,
    SentimentError,
    StartError,
)


def test_another_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused at start, with the release that is needed."""
    monkeypatch.setattr(mlserver, "__version__", "1.8.0")
    with pytest.raises(StartError, match=r"MLServer 1\.8\.0 is installed.*1\.7\.1"):
        upstream.apply.__wrapped__()


def test_a_function_that_is_gone() -> None:
    """It ends the start, in place of a fix that has no effect."""
    with pytest.raises(StartError, match="has no gone"):
        upstream.wrap(SimpleNamespace(__name__="a module"), "gone", lambda original: original)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PayloadError("a"), "INVALID_ARGUMENT"),
        (OverloadedError("a", 2), "RESOURCE_EXHAUSTED"),
        (NotReadyError("a"), "UNAVAILABLE"),
        (DeadlineError(), "DEADLINE_EXCEEDED"),
        (InferenceError("a"), "INTERNAL"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, SentimentError) else value,
)
def test_codes(error: SentimentError, code: str) -> None:
    """Our errors have the code of their kind, where MLServer knows four; overload says when."""
    trailing: list[Any] = []
    upstream._call.set(SimpleNamespace(set_trailing_metadata=trailing.extend))
    assert grpc.StatusCode[code] == upstream._status_code(None, ServingError(error))
    assert (("retry-after", "2") in trailing) == isinstance(error, OverloadedError)


def test_codes_of_other_errors() -> None:
    """Those of MLServer go by their HTTP status."""
    assert grpc.StatusCode.NOT_FOUND == upstream._status_code(None, MLServerError("a", 404))
    assert grpc.StatusCode.UNAVAILABLE == upstream._status_code(None, MLServerError("a", 503))


@pytest.mark.parametrize(
    ("given", "header"),
    [("42", "42"), ("", ""), (None, None), ("a b", "a%20b"), ("é\r\n", "%C3%A9%0D%0A")],
)
def test_ids_in_headers(given: str | None, header: str | None) -> None:
    """An id that could end a header line is quoted."""
    assert header == upstream._printable_headers(lambda *given: given[-1], 1, 2, 3, given)


def test_long_ids_in_headers() -> None:
    """A header stays short."""
    found = upstream._printable_headers(lambda *given: given[-1], 1, 2, 3, "é" * 5000)
    assert 256 * 6 == len(found)


def test_unknown_models() -> None:
    """One short sentence, whatever the name; gRPC's version "" is none."""
    found = upstream._not_found(ModelNotFound, "x" * 5000, "")
    assert len(str(found)) <= LONGEST_SENTENCE
    assert "version" not in str(found)
    assert "version '9'" in str(upstream._not_found(ModelNotFound, "x", "9"))
    plane = SimpleNamespace(_model_registry=MultiModelRegistry())
    with pytest.raises(ModelNotFound):
        upstream._known_model(lambda *_: pytest.fail("it was counted"), plane, "x")


def test_errors_in_the_log() -> None:
    """A refusal is not there; what could not start is its sentence; others keep their trace."""
    kept = []
    for error in (
        ServingError(PayloadError("no text")),
        ServingError(OverloadedError("full", 1)),
        ModelNotFound("a"),
        ServingError(StartError("cannot start: no model")),
        KeyError("a"),
    ):
        record = logging.LogRecord(
            "a", logging.ERROR, "a", 1, "message", None, (type(error), error, None)
        )
        if OneSentence().filter(record):
            kept.append((record.getMessage(), record.exc_info is not None))
    assert [("cannot start: no model", False), ("message", True)] == kept
