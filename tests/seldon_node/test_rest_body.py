"""Bodies of REST requests within bounds: what is read, what it costs, and what is refused."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.exceptions import HTTPException

from roberta_sentiment.errors import OverloadedError
from seldon_node import rest_body
from seldon_node.rest_body import Budget, StrictJSON, TooManyValuesError

TOTAL = 1_000_000


@pytest.fixture
def app() -> Flask:
    made = Flask("test")
    made.json = StrictJSON(made)
    made.extensions[rest_body.BUDGET] = Budget(TOTAL)
    made.teardown_request(rest_body.release_memory)
    return made


def read(app: Flask, **request: Any) -> Any:
    """The message of a request."""
    with app.test_request_context("/", method="POST", **request):
        return rest_body.read_message()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"json": {"strData": "a"}}, id="JSON"),
        pytest.param({"data": {"json": '{"strData": "a"}'}}, id="form"),
        pytest.param({"query_string": {"json": '{"strData": "a"}'}}, id="query"),
        pytest.param(
            {"data": {"strData": "a"}, "content_type": "multipart/form-data"}, id="multipart"
        ),
    ],
)
def test_a_message_arrives_in_several_ways(app: Flask, body: dict[str, Any]) -> None:
    """As the wrapper takes it."""
    assert {"strData": "a"} == read(app, **body)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param({"data": "{", "content_type": "application/json"}, "not valid", id="no JSON"),
        pytest.param({"json": [1]}, "the body is a list", id="no object"),
        pytest.param({"data": {"json": "{"}}, "the field json can't be read", id="field"),
        pytest.param(
            {"data": "a&" * 20, "content_type": "application/x-www-form-urlencoded"},
            "more than 16 fields", id="fields",
        ),
        pytest.param({"data": "a", "content_type": "text/plain"}, "", id="text"),
        pytest.param(
            {"json": {}, "headers": {"Content-Encoding": "gzip"}}, "Content-Encoding is gzip",
            id="gzip",
        ),
        pytest.param(
            {"data": {"other": "a"}, "content_type": "multipart/form-data"}, "no field other",
            id="part",
        ),
        pytest.param(
            {"data": "a", "content_type": "multipart/form-data"}, "no boundary", id="boundary"
        ),
    ],
)  # fmt: skip
def test_other_bodies_are_refused(app: Flask, body: dict[str, Any], words: str) -> None:
    """As the caller's error, with what was wrong."""
    with pytest.raises(HTTPException) as caught:
        read(app, **body)
    assert caught.value.code in (400, 415)
    assert words in str(caught.value.description)


@pytest.mark.parametrize("text", ["[NaN]", "[Infinity]", "[1e999]", "[" * 10**5, "9" * 5000])
def test_json_is_what_the_standard_has(app: Flask, text: str) -> None:
    """Numbers are finite, and depth and digits have an end."""
    with pytest.raises(ValueError, match=r"number|deep"):
        app.json.loads(text)


def test_memory_is_reserved_for_a_request_and_released_after_it(app: Flask) -> None:
    """Whatever way it ends."""
    budget: Any = app.extensions[rest_body.BUDGET]
    bodies: list[dict[str, Any]] = [
        {"json": {"strData": "a"}},
        {"data": "{", "content_type": "application/json"},
    ]
    for body in bodies:
        with app.test_request_context("/", method="POST", **body):
            with contextlib.suppress(HTTPException):
                rest_body.read_message()
            assert budget._taken > 0
        assert 0 == budget._taken


def test_a_budget_has_two_limits() -> None:
    """One body may take half, all together the whole; one always fits where nothing is taken."""
    budget = Budget(100)
    with pytest.raises(TooManyValuesError, match=r"51 bytes of memory, the limit is 50"):
        budget.acquire(51)
    budget.acquire(50)
    budget.acquire(50)
    with pytest.raises(OverloadedError):
        budget.acquire(1)
    budget.release(50)
    budget.acquire(1)


def _size(value: Any) -> int:
    """Bytes that a value of JSON takes in memory, small shared values included."""
    inner: Iterator[Any] = iter(())
    if isinstance(value, dict):
        inner = (item for pair in value.items() for item in pair)
    elif isinstance(value, list):
        inner = iter(value)
    return sys.getsizeof(value) + sum(map(_size, inner))


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(10**30), 10**30) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=8), inner,
                                                                max_size=8),
    max_leaves=40,
)  # fmt: skip


@given(_JSON)
def test_the_cost_of_json_is_an_upper_bound(value: Any) -> None:
    """Else a body within the limit could take more memory than the container has."""
    text = json.dumps(value).encode()
    assert _size(json.loads(text)) <= rest_body.cost_of_json(text, Budget(2**30)) + 128
