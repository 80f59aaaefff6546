"""Options, texts and token ids of a request, for every door."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from roberta_sentiment.errors import (
    OptionError,
    PayloadError,
    SentimentError,
    TextError,
    TokenIdError,
    TooManyCharactersError,
    TooManyTextsError,
)
from roberta_sentiment.model.heads import Head
from roberta_sentiment.serving.request import (
    Options,
    check_output,
    check_size,
    is_number,
    is_whole,
    parse_options,
    score,
    token_id,
)
from roberta_sentiment.settings import Output, Settings

SETTINGS = Settings(max_texts=2, max_characters=5)


@pytest.mark.parametrize(
    ("options", "given"),
    [
        (Options(), None),
        (Options(), {}),
        (Options("end", "label", 2), {"truncation": "end", "output": "label", "top_k": 2.0}),
    ],
)
def test_options_are_read(options: Options, given: object) -> None:
    """What is not given is left to the server's settings; gRPC has every number as a float."""
    assert options == parse_options(given)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([], "an object is needed"),
        ({"topk": 1}, "unknown option 'topk'; known are truncation, output, top_k"),
        ({"truncation": "cut"}, "truncation is .*'cut'.*; allowed are end, start"),
        ({"output": None}, "output is .*; allowed are probabilities"),
        ({"top_k": 0}, "top_k is .*; a whole number from 1"),
        ({"top_k": True}, "top_k is .*; a whole number from 1"),
    ],
)
def test_wrong_options_are_refused(given: object, sentence: str) -> None:
    """A misspelt option would otherwise be an answer to another question."""
    with pytest.raises(OptionError, match=sentence):
        parse_options(given)


@pytest.mark.parametrize(
    ("output", "head", "sentence"),
    [
        ("logits", Head("softmax", in_graph=True), "gives no logits"),
        ("label", Head("identity"), "chooses no label"),
    ],
)
def test_an_output_that_the_model_has_not_is_refused(
    output: Output, head: Head, sentence: str
) -> None:
    """The sentence says what to ask for in its place; any other model has it."""
    with pytest.raises(OptionError, match=f"{sentence}; ask for probabilities"):
        check_output(output, head)
    check_output(output, Head("softmax"))


@pytest.mark.parametrize(("texts", "ids"), [(["a", "bcde"], []), ([], [[1], [2]]), (["abcde"], [])])
def test_a_request_may_be_as_large_as_the_limits(texts: list[str], ids: list[list[int]]) -> None:
    """The limit itself is allowed."""
    check_size(texts, ids, SETTINGS)


@pytest.mark.parametrize(
    ("texts", "ids", "kind"),
    [
        pytest.param(["a", "b", "c"], [], TooManyTextsError, id="texts"),
        pytest.param([], [[1], [2], [3]], TooManyTextsError, id="rows of ids"),
        pytest.param(["abc", "def"], [], TooManyCharactersError, id="characters together"),
        pytest.param(["a", 1], [], PayloadError, id="a number"),
        pytest.param(["a\0"], [], TextError, id="NUL"),
    ],
)
def test_a_request_over_a_limit_is_refused(
    texts: list[Any], ids: list[list[int]], kind: type[SentimentError]
) -> None:
    """Texts and rows of ids are counted alike."""
    with pytest.raises(kind):
        check_size(texts, ids, SETTINGS)


@pytest.mark.parametrize(("expected", "value"), [(0, 0), (7, 7.0), (-1, -1)])
def test_a_token_id_may_be_written_as_a_float(expected: int, value: float) -> None:
    """Seldon's tensors hold doubles; whether the model has the id is asked later."""
    assert expected == token_id(0, 0, value)


@pytest.mark.parametrize("value", [1.5, float("nan"), float("inf"), True, "7", None, 2**63])
def test_what_is_no_token_id_is_refused(value: object) -> None:
    """The sentence says which row and column."""
    with pytest.raises(TokenIdError, match=r"row 1, column 2: .*a whole number is needed"):
        token_id(1, 2, value)


def test_true_is_no_number() -> None:
    """Python's bool is an int, JSON's is not."""
    assert [True, True, False, False] == [is_number(value) for value in (1, 1.5, True, "1")]
    assert [True, True, False, False] == [is_whole(value) for value in (1, 1.0, 1.5, True)]


class Recorded:
    """A classifier that says how it was asked."""

    def classify(self, texts: object, truncation: object) -> object:
        return "texts", texts, truncation

    def classify_ids(self, ids: object) -> object:
        return "ids", ids


def test_ids_are_scored_as_they_came() -> None:
    """Texts go through the tokenizer with the request's truncation, ids do not."""
    model: Any = Recorded()
    ask: Any = functools.partial(score, model)
    assert ("texts", ["a"], "start") == ask(["a"], [], Options("start"))
    assert ("ids", [[1]]) == ask([], [[1]], Options("start"))
