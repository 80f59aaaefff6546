"""The tensors of a RoBERTa classifier, from a checkpoint or a graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from roberta_sentiment.errors import GraphError
from roberta_sentiment.graph.weights import Architecture, Weights, from_onnx, from_state_dict
from tests import toy, zoo


@pytest.fixture(scope="module")
def weights() -> Weights:
    return from_onnx(zoo.graph(), zoo.CONFIG)


def test_the_configuration_gives_what_no_tensor_shows() -> None:
    """Values that are missing are RoBERTa's own."""
    config = {"num_hidden_layers": 2, "num_attention_heads": 4}
    assert Architecture(layers=2, heads=4, epsilon=1e-5, pad_id=1) == Architecture.read(config)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"model_type": "bert"}, "model_type is 'bert', a RoBERTa is needed"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
        ({"num_attention_heads": None}, "does not say num_attention_heads"),
    ],
)
def test_another_architecture_is_refused(change: dict[str, Any], sentence: str) -> None:
    """Rebuilt as a RoBERTa it would give other answers."""
    config = {k: v for k, v in {**zoo.CONFIG, **change}.items() if v is not None}
    with pytest.raises(GraphError, match=sentence):
        Architecture.read(config)


def test_every_tensor_has_the_shape_of_the_configuration(weights: Weights) -> None:
    """Six linear layers and two norms a layer, two linear layers in the head, one norm before."""
    layers, hidden = zoo.CONFIG["num_hidden_layers"], zoo.CONFIG["hidden_size"]
    architecture = weights.architecture
    assert 6 * layers + 2 == len(list(architecture.linears()))
    assert 2 * layers + 1 == len(list(architecture.norms()))
    assert (zoo.CONFIG["vocab_size"], hidden) == weights.words.shape
    assert (zoo.CONFIG["max_position_embeddings"] - 2, hidden) == weights.positions.shape
    assert 2 == weights.classes


def test_linear_layers_stand_side_by_side(weights: Weights) -> None:
    """Query, key and value are one product; a weight is (inputs, outputs) there."""
    names = [f"roberta.encoder.layer.0.attention.self.{part}" for part in ("query", "key")]
    weight, bias = weights.linear(*names)
    hidden = zoo.CONFIG["hidden_size"]
    assert ((hidden, 2 * hidden), (2 * hidden,)) == (weight.shape, bias.shape)
    np.testing.assert_array_equal(weights.tensors[f"{names[1]}.weight"].T, weight[:, hidden:])


def test_a_norm_is_its_scale_and_its_shift(weights: Weights) -> None:
    """In this order."""
    name = next(weights.architecture.norms())
    scale, shift = weights.norm(name)
    np.testing.assert_array_equal(weights.tensors[f"{name}.weight"], scale)
    np.testing.assert_array_equal(weights.tensors[f"{name}.bias"], shift)


def test_the_token_type_is_added_to_every_position(weights: Weights) -> None:
    """RoBERTa has one type; rows that no token takes are left out."""
    tensors = dict(weights.tensors)
    kind = "roberta.embeddings.token_type_embeddings.weight"
    raised = from_state_dict({**tensors, kind: tensors[kind] + 1}, zoo.CONFIG)
    np.testing.assert_allclose(weights.positions + 1, raised.positions, atol=1e-6)


def test_a_checkpoint_with_a_hole_is_refused(weights: Weights) -> None:
    """The sentence names the tensor."""
    name = "classifier.dense.weight"
    with pytest.raises(GraphError, match=name):
        from_state_dict({k: v for k, v in weights.tensors.items() if k != name}, zoo.CONFIG)


def test_a_graph_of_another_kind_is_refused() -> None:
    """The toy model has no layers."""
    with pytest.raises(GraphError):
        from_onnx(toy.graph(), zoo.CONFIG)
