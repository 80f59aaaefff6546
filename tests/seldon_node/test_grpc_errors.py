"""What a gRPC client sees of an error, with a method in place of the wrapper's."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from seldon_core import flask_utils, wrapper
from seldon_core.proto import prediction_pb2

from roberta_sentiment import caller
from roberta_sentiment.errors import OWN_FAULT, DroppedError
from seldon_node import grpc_errors

ANSWER = prediction_pb2.SeldonMessage(strData="answer")


class Aborted(Exception):  # noqa: N818  ends the method as gRPC's own does
    """Raised by `abort`."""


class Context:
    """A call whose client waits so many seconds, or has left.

    Attributes:
        ended: code and sentence of its end.
        metadata: that came with them.
    """

    def __init__(self, seconds: float | None = None, *, has_left: bool = False) -> None:
        self._seconds, self._has_left = seconds, has_left
        self.ended: tuple[grpc.StatusCode, str] | None = None
        self.metadata: dict[str, str] = {}

    def time_remaining(self) -> float | None:
        return self._seconds

    def add_callback(self, callback: Callable[[], None]) -> bool:
        return not self._has_left

    def set_trailing_metadata(self, pairs: tuple[tuple[str, str], ...]) -> None:
        self.metadata = dict(pairs)

    def abort(self, code: grpc.StatusCode, sentence: str) -> None:
        self.ended = code, sentence
        raise Aborted


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Calls Predict of the repaired servicer; the node answers by a function."""
    for name in ("SeldonModelGRPC", "get_grpc_server"):
        monkeypatch.setattr(wrapper, name, getattr(wrapper, name))
    grpc_errors.repair()
    monkeypatch.setattr(grpc_errors, "SentimentNode", SimpleNamespace)

    def predict(answer: Callable[[], Any], context: Context) -> Any:
        node = SimpleNamespace(predict_raw=lambda request: answer())
        servicer = wrapper.SeldonModelGRPC(node, None)
        return servicer.Predict(ANSWER, context)

    return predict


def failing(error: Exception) -> Callable[[], Any]:
    def answer() -> Any:
        raise error

    return answer


def refused(code: int, info: str) -> Callable[[], Any]:
    status = prediction_pb2.Status(code=code, info=info, status=prediction_pb2.Status.FAILURE)
    return lambda: prediction_pb2.SeldonMessage(status=status)


def test_an_answer_goes_out_as_it_is(ask: Callable[..., Any]) -> None:
    """No status is made of it."""
    context = Context()
    assert ANSWER == ask(lambda: ANSWER, context)
    assert context.ended is None


@pytest.mark.parametrize(
    ("code", "sentence", "answer"),
    [
        pytest.param("INVALID_ARGUMENT", "bad text", refused(400, "bad text"), id="answer"),
        pytest.param("UNIMPLEMENTED", "no", failing(NotImplementedError("no")), id="no method"),
        pytest.param(
            "RESOURCE_EXHAUSTED", "too much",
            failing(flask_utils.SeldonMicroserviceException("too much", status_code=413)),
            id="wrapper's",
        ),
        pytest.param("INTERNAL", OWN_FAULT, failing(KeyError("secret path")), id="our own"),
    ],
)  # fmt: skip
def test_an_error_is_a_code_and_a_sentence(
    ask: Callable[..., Any], code: str, sentence: str, answer: Callable[[], Any]
) -> None:
    """As over REST; of an unexpected failure a caller learns nothing."""
    context = Context()
    with pytest.raises(Aborted):
        ask(answer, context)
    assert (grpc.StatusCode[code], sentence) == context.ended


def test_a_long_sentence_fits_into_a_header(ask: Callable[..., Any]) -> None:
    """gRPC would fail on one of more than 8 kB."""
    context = Context()
    with pytest.raises(Aborted):
        ask(refused(400, "x" * 10_000), context)
    assert context.ended is not None
    assert 300 == len(context.ended[1])


def test_a_refused_caller_is_told_when_to_come_back(ask: Callable[..., Any]) -> None:
    """The pause that REST has as Retry-After."""

    def full() -> Any:
        caller.current().retry_after = 3
        return refused(503, "full")()

    context = Context()
    with pytest.raises(Aborted):
        ask(full, context)
    assert "3" == context.metadata["retry-after"]


@pytest.mark.parametrize(
    ("reason", "context"),
    [
        pytest.param(None, Context(), id="no deadline"),
        pytest.param(None, Context(60.0), id="in time"),
        pytest.param("DEADLINE_EXCEEDED", Context(0.0), id="too late"),
        pytest.param("CALLER_GONE", Context(has_left=True), id="left"),
    ],
)
def test_the_classifier_knows_who_waits(
    ask: Callable[..., Any], reason: str | None, context: Context
) -> None:
    """Work that nobody waits for is dropped."""
    problems: list[DroppedError | None] = []

    def answer() -> Any:
        problems.append(caller.current().problem())
        return ANSWER

    ask(answer, context)
    assert [reason] == [problem and problem.reason for problem in problems]
