"""Which model gave an answer: by path, routing or tags, and never by guessing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ab.attribution import Graph, Model, parse_models
from ab.wire import Answer
from roberta_sentiment.errors import DataError

MODELS = parse_models(["roberta", "lexicon"])
GRAPH = Graph(MODELS)


def answer(**meta: Any) -> Answer:
    fields: dict[str, Any] = {"path": {}, "routing": {}, "tags": {}, **meta}
    return Answer(("negative", "positive"), (0.4, 0.6), **fields)


@pytest.mark.parametrize(
    ("meta", "model", "by"),
    [
        ({"path": {"lexicon": "image:1"}}, "lexicon", "requestPath"),
        ({"routing": {"ab": 0, "roberta": -1}}, "roberta", "routing"),
        ({"tags": {"model_name": "lexicon"}}, "lexicon", "tags"),
        ({"path": {"roberta": ""}, "routing": {"ab": 0}}, "roberta", "requestPath"),
    ],
)
def test_each_sign_is_read(meta: dict[str, Any], model: str, by: str) -> None:
    """The path needs no flag of the executor, so it comes first."""
    found = GRAPH.attribute(answer(**meta))
    assert (model, by) == (found.model, found.by)


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({}, "nothing in the answer names a declared model"),
        ({"routing": {"ab": -1}}, "nothing in the answer"),
        ({"path": {"roberta": ""}, "routing": {"ab": 1}}, "contradiction"),
        ({"path": {"roberta": "", "lexicon": ""}}, "contradiction"),
        ({"routing": {"ab": 2}}, "not a declared model"),
        ({"routing": {"ab": 0, "cd": 1}}, "nothing in the answer"),
    ],
)
def test_an_answer_without_a_model_is_refused(meta: dict[str, Any], message: str) -> None:
    """An answer of an unknown model counts for none."""
    found = GRAPH.attribute(answer(**meta))
    assert found.model is None
    assert message in found.by


def test_the_router_settles_several_choices() -> None:
    """A graph may have more than one node that chooses."""
    found = Graph(MODELS, "cd").attribute(answer(routing={"ab": 0, "cd": 1}))
    assert "lexicon" == found.model


@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=5))
def test_shares_sum_to_one(shares: list[float]) -> None:
    """Shares are relative, so that 50 and 50 mean halves."""
    models = parse_models([f"m{i}={share}" for i, share in enumerate(shares)])
    assert pytest.approx(1.0) == sum(model.share for model in models)


def test_equal_shares_are_the_default() -> None:
    """Names alone are enough."""
    assert (Model("roberta", 0.5), Model("lexicon", 0.5)) == MODELS


@pytest.mark.parametrize("given", [["a", "a"], [""], ["a=1", "b"], ["a=0"], ["a=x"], ["a=inf"]])
def test_wrong_models_are_refused(given: list[str]) -> None:
    """A share that is not meant would make the split look wrong."""
    with pytest.raises(DataError):
        parse_models(given)
