"""What a model directory says about its model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest

from roberta_sentiment.errors import ArtifactError
from roberta_sentiment.model.facts import Facts
from tests import toy, zoo

ROBERTA = {"model_type": "roberta", "pad_token_id": 1, "vocab_size": 300}


def facts(directory: Path, config: dict[str, Any], manifest: dict[str, Any] | None = None) -> Facts:
    path = toy.write(directory)
    return Facts(path=path, onnx_path=path / "model.onnx", config=config, manifest=manifest or {})


def test_the_manifest_states_the_precision(tmp_path: Path) -> None:
    """Otherwise the graph shows it."""
    assert "int8" == facts(tmp_path, ROBERTA, {"precision": "int8"}).precision
    assert "fp32" == facts(tmp_path, ROBERTA).precision


@pytest.mark.parametrize("claimed", [True, False])
@pytest.mark.parametrize("int8", [True, False], ids=["int8", "fp32"])
def test_graph_and_manifest_may_both_deny_that_texts_are_independent(
    tmp_path: Path, int8: bool, claimed: bool
) -> None:
    """A manifest that claims it of a graph with one scale for a batch is ignored."""
    model = facts(tmp_path, ROBERTA, {"batch_invariant": claimed})
    if int8:
        graph = onnx.load(str(model.onnx_path))
        graph.graph.node.append(
            onnx.helper.make_node("DynamicQuantizeLinear", ["table"], ["q", "scale", "zero"])
        )
        onnx.save(graph, str(model.onnx_path))
    assert (claimed and not int8) == model.batch_invariant


@pytest.mark.parametrize(
    ("config", "labels"),
    [
        pytest.param({}, ("negative", "positive"), id="none"),
        pytest.param({"id2label": {"1": "good", "0": "bad"}}, ("bad", "good"), id="id2label"),
        pytest.param({"label2id": {"good": 1, "bad": 0}}, ("bad", "good"), id="label2id"),
    ],
)
def test_labels_are_in_the_order_of_the_output(
    tmp_path: Path, config: dict[str, Any], labels: tuple[str, ...]
) -> None:
    """JSON objects have no order; the numbers decide."""
    assert labels == facts(tmp_path, config).labels


@pytest.mark.parametrize(
    ("id2label", "sentence"),
    [
        pytest.param(["a", "b"], "is not an object", id="list"),
        pytest.param({"0": "a", "2": "b"}, "must number its labels", id="gap"),
        pytest.param({"0": "a", "1": "a"}, "are equal", id="twice"),
        pytest.param({"0": "a", "1": " "}, "has no name", id="blank"),
        pytest.param({str(i): f"l{i}" for i in range(1001)}, "at most 1000", id="too many"),
    ],
)
def test_labels_that_can_not_be_are_refused(
    tmp_path: Path, id2label: object, sentence: str
) -> None:
    """An answer under a wrong label would be wrong without a word."""
    with pytest.raises(ArtifactError, match=sentence):
        _ = facts(tmp_path, {"id2label": id2label}).labels


@pytest.mark.parametrize(
    ("config", "token", "filler"),
    [
        pytest.param({"pad_token_id": 3}, 3, 3, id="stated"),
        pytest.param({"model_type": "roberta"}, 1, 1, id="roberta's"),
        pytest.param({"model_type": "bert"}, 0, 0, id="bert's"),
        pytest.param({"model_type": "gpt2"}, None, 0, id="none"),
    ],
)
def test_rows_are_filled_with_the_padding_token(
    tmp_path: Path, config: dict[str, Any], token: int | None, filler: int
) -> None:
    """A model without one gets 0, which its mask hides."""
    model = facts(tmp_path, config)
    assert (token, filler) == (model.pad_token, model.pad_id)


def test_the_smaller_vocabulary_counts(tmp_path: Path) -> None:
    """A token id beyond either would be read outside of a table."""
    rows = len(toy.vocabulary())
    assert 10 == facts(tmp_path, {**ROBERTA, "vocab_size": 10}).vocab_size
    assert rows == facts(tmp_path, {**ROBERTA, "vocab_size": 10_000}).vocab_size
    assert rows == facts(tmp_path, {}).vocab_size


@pytest.mark.parametrize("value", [0, -1, "300", 1.5, True])
def test_a_vocabulary_that_can_not_be_is_refused(tmp_path: Path, value: object) -> None:
    """The sentence shows the value and what is needed."""
    with pytest.raises(ArtifactError, match=r"vocab_size is .*whole number from 1 is needed"):
        _ = facts(tmp_path, {**ROBERTA, "vocab_size": value}).vocab_size


@pytest.mark.parametrize(
    ("tokenizer", "limit"), [(None, 512), ("64", 512), (64, 64), (10**30, 512)]
)
def test_the_tokenizer_s_limit_lowers_the_model_s(
    tmp_path: Path, tokenizer: object, limit: int
) -> None:
    """RoBERTa's 514 positions are 512 tokens; a senseless limit of a tokenizer is none."""
    model = facts(tmp_path, {**ROBERTA, "max_position_embeddings": 514})
    model.__dict__["tokenizer_config"] = {"model_max_length": tokenizer}
    assert limit == model.position_limit


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        pytest.param({"model_type": "new"}, "set the parameter max_tokens", id="unknown family"),
        pytest.param({**ROBERTA, "max_position_embeddings": 2}, "leave 0 tokens", id="too few"),
    ],
)
def test_a_limit_that_nothing_says_is_asked_for(
    tmp_path: Path, config: dict[str, Any], sentence: str
) -> None:
    """The parameter is the way out."""
    with pytest.raises(ArtifactError, match=sentence):
        _ = facts(tmp_path, config).position_limit


def test_the_table_of_positions_in_the_graph_limits_a_text(tmp_path: Path) -> None:
    """The configuration can't promise more rows than there are."""
    path = zoo.write(tmp_path)
    rows = zoo.CONFIG["max_position_embeddings"]
    config = {**zoo.CONFIG, "max_position_embeddings": rows + 100}
    graph = next(path.glob("*.onnx"))
    model = Facts(path=path, onnx_path=graph, config=config, manifest={})
    assert rows - 2 == model.position_limit


def test_what_the_directory_does_not_have_is_empty(tmp_path: Path) -> None:
    """`tokenizer_config.json` is optional, and read where it is."""
    assert {} == facts(tmp_path / "without", ROBERTA).tokenizer_config
    model = facts(tmp_path / "with", ROBERTA)
    (model.path / "tokenizer_config.json").write_text('{"model_max_length": 8}')
    assert {"model_max_length": 8} == model.tokenizer_config
