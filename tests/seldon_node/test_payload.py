"""What a request may be, and the sentence for everything else."""

from __future__ import annotations

import base64
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seldon_core.proto import prediction_pb2

from roberta_sentiment.errors import RequestError
from roberta_sentiment.serving.request import Options
from roberta_sentiment.serving.wording import brief, names
from roberta_sentiment.settings import Settings
from seldon_node.payload import Request, parse, to_python
from tests.wire import to_proto

SETTINGS = Settings(max_texts=4, max_characters=100)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


GOOD = [
    pytest.param({"data": {"ndarray": ["a", "b"]}}, Request("ndarray", ["a", "b"]), id="flat"),
    pytest.param({"data": {"ndarray": [["a"], ["b"]]}}, Request("ndarray", ["a", "b"]), id="n x 1"),
    pytest.param(
        {"data": {"names": ["x"], "ndarray": [[0, 7], [0, 8]]}},
        Request("ndarray", ids=[[0, 7], [0, 8]]),
        id="ids in ndarray",
    ),
    pytest.param(
        {"data": {"tensor": {"shape": [2, 2], "values": [0, 7, 0, 8.0]}}},
        Request("tensor", ids=[[0, 7], [0, 8]]),
        id="ids in tensor",
    ),
    pytest.param({"strData": "a"}, Request("strData", ["a"]), id="strData"),
    pytest.param({"jsonData": "a"}, Request("jsonData", ["a"]), id="jsonData text"),
    pytest.param({"jsonData": ["a", "b"]}, Request("jsonData", ["a", "b"]), id="jsonData list"),
    pytest.param(
        {"jsonData": {"texts": "a"}}, Request("jsonData", ["a"]), id="jsonData object, one text"
    ),
    pytest.param(
        {
            "jsonData": {
                "texts": ["a"],
                "options": {"truncation": "middle", "output": "logits", "top_k": 1},
            }
        },
        Request("jsonData", ["a"], options=Options("middle", "logits", 1)),
        id="jsonData options",
    ),
    pytest.param({"binData": b64("é".encode())}, Request("binData", ["é"]), id="binData"),
    pytest.param(
        {"strData": "a", "data": None, "meta": {"puid": "p"}}, Request("strData", ["a"]), id="null"
    ),
]


@pytest.mark.parametrize(("message", "expected"), GOOD)
def test_good_requests(message: dict[str, Any], expected: Request) -> None:
    """Every row of the payload table is read as it says."""
    assert expected == parse(message, SETTINGS)


@pytest.mark.parametrize(("message", "expected"), GOOD)
def test_grpc_reads_the_same(message: dict[str, Any], expected: Request) -> None:
    """The same request over gRPC, where numbers are floats, means the same."""
    proto = to_proto(message)
    assert expected == parse(to_python(proto), SETTINGS)


TEXTS = "data.ndarray"
BAD = [
    pytest.param([], "the body is a list; a SeldonMessage object", id="body is a list"),
    pytest.param(None, "the body is null", id="body is null"),
    pytest.param({}, "the message is empty", id="empty message"),
    pytest.param({"jsondata": "a"}, "did you mean jsonData?", id="typo in the field"),
    pytest.param({"strData": "a", "jsonData": "b"}, "holds strData and jsonData", id="two fields"),
    pytest.param({"customData": {}}, "customData is not understood", id="customData"),
    pytest.param({"data": []}, "data is a list", id="data is a list"),
    pytest.param({"data": {}}, "either ndarray", id="data is empty"),
    pytest.param({"data": {"tftensor": {}}}, "tftensor is not understood", id="tftensor"),
    pytest.param({"data": {"ndarray": "a"}}, "data.ndarray is the text 'a'", id="0-d"),
    pytest.param({"data": {"ndarray": []}}, "data.ndarray is empty", id="no texts"),
    pytest.param({"data": {"ndarray": ["a", 1]}}, "text 1 is the number 1", id="mixed"),
    pytest.param({"data": {"ndarray": ["a", None]}}, "text 1 is null", id="None"),
    pytest.param({"data": {"ndarray": [True]}}, "text 0 is true", id="bool"),
    pytest.param({"data": {"ndarray": [{"a": 1}]}}, "text 0 is an object", id="object"),
    pytest.param({"data": {"ndarray": [["a", "b"]]}}, "[0] is a list of 2 values", id="n x 2"),
    pytest.param({"data": {"ndarray": ["a", []]}}, "[1] is a list of 0 values", id="empty row"),
    pytest.param({"data": {"ndarray": [[["a"]]]}}, "text 0 is a list", id="nested"),
    pytest.param({"data": {"ndarray": [1, 2]}}, "flat list of numbers", id="flat numbers"),
    pytest.param({"data": {"ndarray": [[0, 2], [0]]}}, "row 1 has 1 token ids", id="ragged ids"),
    pytest.param({"data": {"ndarray": [[0, 2], "a"]}}, "row 1 is the text 'a'", id="ids and text"),
    pytest.param({"data": {"ndarray": [[0, 0.5]]}}, "row 0, column 1: the number 0.5", id="half"),
    pytest.param({"data": {"ndarray": [[0, "a"]]}}, "row 0, column 1: the text", id="id is text"),
    pytest.param({"data": {"ndarray": [[0, True]]}}, "row 0, column 1: true", id="id is bool"),
    pytest.param({"data": {"ndarray": [[0, math.nan]]}}, "the number nan", id="id is NaN"),
    pytest.param({"data": {"ndarray": [[0, math.inf]]}}, "the number inf", id="id is infinite"),
    pytest.param({"data": {"tensor": []}}, "shape and values", id="tensor is a list"),
    pytest.param({"data": {"tensor": {"values": [1]}}}, "shape and values", id="no shape"),
    pytest.param(
        {"data": {"tensor": {"shape": [2], "values": [0, 2]}}}, "has shape [2]", id="1-d tensor"
    ),
    pytest.param(
        {"data": {"tensor": {"shape": [1, 3], "values": [0, 2]}}}, "3 are needed", id="wrong shape"
    ),
    pytest.param(
        {"data": {"tensor": {"shape": [0, 2], "values": []}}}, "has shape [0, 2]", id="0 rows"
    ),
    pytest.param({"strData": 5}, "text 0 is the number 5", id="strData is a number"),
    pytest.param({"strData": ""}, "text 0 is empty", id="empty text"),
    pytest.param({"strData": " \n\t"}, "text 0 is empty", id="only spaces"),
    pytest.param({"strData": "a\0b"}, "text 0 holds a NUL at character 1", id="NUL"),
    pytest.param({"jsonData": 5}, "jsonData is the number 5", id="jsonData is a number"),
    pytest.param({"jsonData": []}, "jsonData holds no text", id="jsonData is empty"),
    pytest.param({"jsonData": {}}, "jsonData has no texts", id="jsonData without texts"),
    pytest.param(
        {"jsonData": {"texts": ["a"], "option": {}}}, "unknown field 'option'", id="typo in options"
    ),
    pytest.param({"jsonData": {"texts": ["a"], "options": 1}}, "options is the number", id="opts"),
    pytest.param(
        {"jsonData": {"texts": ["a"], "options": {"topk": 1}}}, "unknown option 'topk'", id="topk"
    ),
    pytest.param(
        {"jsonData": {"texts": ["a"], "options": {"truncation": "no"}}},
        "truncation is the text 'no'; allowed are end", id="truncation",
    ),
    pytest.param(
        {"jsonData": {"texts": ["a"], "options": {"top_k": 0}}}, "top_k is the number 0", id="top_k"
    ),
    pytest.param({"binData": "a"}, "not valid base64", id="base64"),
    pytest.param({"binData": 5}, "binData is the number 5", id="binData is a number"),
    pytest.param({"binData": b64(b"\xff")}, "not valid UTF-8: invalid start byte", id="UTF-8"),
    pytest.param({"jsonData": ["a"] * 5}, "5 texts, the limit is 4", id="too many texts"),
    pytest.param(
        {"jsonData": ["a" * 60] * 2}, "up to text 1 the request holds 120 characters, the limit is",
        id="too many characters",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("message", "words"), BAD)
def test_bad_requests(message: Any, words: str) -> None:
    """Everything else is refused before the model runs, with position and reason."""
    with pytest.raises(RequestError) as caught:
        parse(message, SETTINGS)
    assert words in str(caught.value)


def test_what_fills_a_limit_exactly_is_taken() -> None:
    """The limit itself is still allowed; one more is not."""
    assert 4 == len(parse({"jsonData": ["a" * 25] * 4}, SETTINGS))
    for one_more in (["a"] * 5, ["a" * 25] * 3 + ["a" * 26]):
        with pytest.raises(RequestError, match="the limit is"):
            parse({"jsonData": one_more}, SETTINGS)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["data", "ndarray", "tensor", "shape", "values", "strData", "jsonData", "binData",
                 "texts", "options", "top_k", "output", "truncation", "meta", "tags"]
            ) | st.text(max_size=3),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)  # fmt: skip


@given(json_values)
def test_any_json_is_read_or_refused(message: Any) -> None:
    """No body may raise anything but our own error, whose status is the caller's fault."""
    try:
        request = parse(message, SETTINGS)
    except RequestError as error:
        assert error.http_status in (400, 413)
        assert error.message
    else:
        assert 1 <= len(request) <= SETTINGS.max_texts
        assert all(isinstance(text, str) for text in request.texts)


def test_tags_and_path_survive_protobuf() -> None:
    """The meta of a graph's earlier nodes must come through."""
    message = prediction_pb2.SeldonMessage()
    message.meta.puid = "p"
    message.meta.tags["a"].number_value = 1
    message.meta.requestPath["node"] = "image"
    expected = {"meta": {"puid": "p", "tags": {"a": 1.0}, "requestPath": {"node": "image"}}}
    assert expected == to_python(message)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        pytest.param("a" * 40, repr("a" * 40), id="text"),
        pytest.param("a" * 41, repr("a" * 40 + "..."), id="long text"),
        pytest.param([1, "a", [None], {"b": 1}], "[1, 'a', [None], an object]", id="list"),
        pytest.param([0] * 5, "[0, 0, 0, 0, 0]", id="five items"),
        pytest.param([0] * 6, "[0, 0, 0, 0, 0, ...]", id="six items"),
        pytest.param(10**40 - 1, "9" * 40, id="40 digits"),
        pytest.param(-(10**40), "with more than 40 digits", id="41 digits"),
        pytest.param([10**5000], "[with more than 40 digits]", id="digits that Python refuses"),
    ],
)
def test_a_value_is_repeated_in_short(value: object, words: str) -> None:
    """A message stays short, whatever the caller sent."""
    assert words == brief(value)


def test_many_labels_are_named_in_short() -> None:
    """A model may have thousands; a few are all named."""
    assert "a, b, c, d, e" == names("abcde")
    assert "a, b, c, d, e and 2 more" == names("abcdefg")
