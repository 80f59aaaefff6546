"""Reading a REST request byte by byte: where it ends, and what is refused."""

from __future__ import annotations

import json

import pytest

from seldon_node.rest_request import Parser, RefusedError
from seldon_node.rest_server import Limits, _adjustments
from tests.hostile.attacks import posting

LIMIT = 1000


def read(data: bytes, step: int = 2**16) -> Parser:
    """A parser that has read data in steps."""
    parser = Parser(_adjustments(Limits(body_bytes=LIMIT)))
    while data and not parser.completed:
        piece, data = data[:step], data[step:]
        data = piece[parser.received(piece) :] + data
    return parser


@pytest.mark.parametrize("step", [1, 7, 2**16])
def test_a_request_is_the_same_in_any_pieces(step: int) -> None:
    """Its body, and what belongs to the next one."""
    parser = read(posting(b"x" * LIMIT), step)
    assert parser.completed
    assert parser.error is None
    assert LIMIT == parser.held
    assert "/predict" == parser.path


CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        pytest.param(posting(b"", length=LIMIT + 1), 413, "larger than 1000", id="length"),
        pytest.param(
            CHUNKED + b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n", 413, "larger than 1000",
            id="chunks",
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "two headers host", id="two hosts"
        ),
        pytest.param(
            posting(b"{}", Transfer_Encoding="chunked"), 400, "exclude each other", id="two lengths"
        ),
        pytest.param(
            b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 400, "HTTP/1.0 and HTTP/1.1", id="version"
        ),
        pytest.param(
            CHUNKED.replace(b"1.1", b"1.0", 1), 400, "knows no Transfer-Encoding", id="HTTP/1.0"
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\nX: " + b"x" * 2**17 + b"\r\n\r\n", 431, "larger than 65536",
            id="headers",
        ),
        pytest.param(
            CHUNKED + b"1;" + b"x" * 5000, 400, "framing", id="chunk extension"
        ),
    ],
)  # fmt: skip
def test_a_request_is_refused(data: bytes, code: int, words: str) -> None:
    """With the code and the sentence that its sender gets."""
    error = read(data).error
    assert isinstance(error, RefusedError)
    assert code == error.code
    assert words in error.info


def test_a_refusal_is_an_answer_in_the_form_of_all_errors() -> None:
    """And says when to try again, where that helps."""
    line, headers, body = RefusedError(503, "OVERLOADED", "full\n" + "x" * 400).to_response()
    assert "503 Service Unavailable" == line
    assert ("Retry-After", "1") in headers
    status = json.loads(body)["status"]
    assert (503, "OVERLOADED", "FAILURE") == (status["code"], status["reason"], status["status"])
    assert status["info"].startswith("full\\x0a")
    assert len(status["info"]) <= 300
