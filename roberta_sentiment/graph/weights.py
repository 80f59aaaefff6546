"""The tensors of a RoBERTa classifier, by their Hugging Face names, from wherever they are kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from roberta_sentiment.errors import GraphError

Array = npt.NDArray[np.float32]

PRODUCER = "roberta_sentiment"
"""Producer of the graphs that `graph.fused` builds."""

_EMBEDDINGS = "roberta.embeddings"
_TABLES = ("word_embeddings", "position_embeddings", "token_type_embeddings")


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What `config.json` says about a RoBERTa classifier.

    Attributes:
        layers: of the encoder.
        heads: of one layer.
        epsilon: of the layer normalisations.
        pad_id: the first token takes row `pad_id + 1` of the position table.
    """

    layers: int
    heads: int
    epsilon: float
    pad_id: int

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Self:
        """Read a Hugging Face configuration.

        Raises:
            GraphError: it is not a RoBERTa, or one with another activation or other positions.
        """
        kind = config.get("model_type", "roberta")
        if kind not in ("roberta", "xlm-roberta", "camembert"):
            raise GraphError(f"config.json: model_type is {kind!r}, a RoBERTa is needed")
        if config.get("hidden_act", "gelu") != "gelu":
            raise GraphError(f"config.json: hidden_act is {config['hidden_act']!r}, not 'gelu'")
        positions = config.get("position_embedding_type", "absolute")
        if positions != "absolute":
            raise GraphError(f"config.json: position_embedding_type is {positions!r}")
        try:
            return cls(
                layers=int(config["num_hidden_layers"]),
                heads=int(config["num_attention_heads"]),
                epsilon=float(config.get("layer_norm_eps", 1e-5)),
                pad_id=int(config.get("pad_token_id", 1)),
            )
        except KeyError as missing:
            raise GraphError(f"config.json does not say {missing.args[0]}") from None

    def linears(self) -> Iterator[str]:
        """Names of the linear layers of the encoder and of the head."""
        for layer in range(self.layers):
            at = f"roberta.encoder.layer.{layer}"
            yield from (f"{at}.attention.self.{part}" for part in ("query", "key", "value"))
            yield f"{at}.attention.output.dense"
            yield f"{at}.intermediate.dense"
            yield f"{at}.output.dense"
        yield from ("classifier.dense", "classifier.out_proj")

    def norms(self) -> Iterator[str]:
        """Names of the layer normalisations."""
        yield f"{_EMBEDDINGS}.LayerNorm"
        for layer in range(self.layers):
            at = f"roberta.encoder.layer.{layer}"
            yield from (f"{at}.attention.output.LayerNorm", f"{at}.output.LayerNorm")


@dataclasses.dataclass(frozen=True)
class Weights:
    """All tensors of a classifier.

    Attributes:
        architecture: the numbers that no tensor shows.
        tensors: float32 by Hugging Face name; a linear layer's weight is (outputs, inputs).
    """

    architecture: Architecture
    tensors: Mapping[str, Array]

    def linear(self, *names: str) -> tuple[Array, Array]:
        """Weight (inputs, outputs) and bias (outputs,) of linear layers side by side."""
        return (
            np.concatenate([self.tensors[f"{name}.weight"].T for name in names], axis=1),
            np.concatenate([self.tensors[f"{name}.bias"] for name in names]),
        )

    def norm(self, name: str) -> tuple[Array, Array]:
        """Scale and shift of a layer normalisation."""
        return self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]

    @property
    def words(self) -> Array:
        """Word embeddings, (vocabulary, hidden)."""
        return self.tensors[f"{_EMBEDDINGS}.word_embeddings.weight"]

    @property
    def positions(self) -> Array:
        """Embedding of each position, the one token type added, (longest text, hidden)."""
        rows = self.tensors[f"{_EMBEDDINGS}.position_embeddings.weight"]
        kind = self.tensors[f"{_EMBEDDINGS}.token_type_embeddings.weight"][0]
        table: Array = (rows + kind)[self.architecture.pad_id + 1 :]
        return table

    @property
    def classes(self) -> int:
        """Width of the output."""
        return len(self.tensors["classifier.out_proj.bias"])


def from_state_dict(state: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> Weights:
    """Take the tensors of a PyTorch checkpoint of `RobertaForSequenceClassification`.

    Raises:
        GraphError: a tensor is missing or does not have the shape that its neighbours need.
    """
    return _checked(Architecture.read(config), state, "the checkpoint")


def from_onnx(model: onnx.ModelProto, config: Mapping[str, Any]) -> Weights:
    """Find the tensors in an exported graph.

    Exporters keep the names of biases, tables and normalisations, but fold the transposition into
    the weight of a linear layer and rename it; it is found as what is multiplied before that bias
    is added.

    Args:
        model: float32, before any operator fusion.
        config: the `config.json` beside it.

    Raises:
        GraphError: a tensor can't be found, or its shape does not fit.
    """
    architecture = Architecture.read(config)
    constants = _Constants(model.graph)
    if model.producer_name == PRODUCER:
        return _checked(architecture, _from_fused(constants, architecture), "the graph")
    found: dict[str, npt.NDArray[Any]] = {}
    for name in architecture.linears():
        found[f"{name}.weight"] = constants.weight_before(f"{name}.bias")
        found[f"{name}.bias"] = constants[f"{name}.bias"]
    for name in architecture.norms():
        found[f"{name}.weight"] = constants[f"{name}.weight"]
        found[f"{name}.bias"] = constants[f"{name}.bias"]
    for table in _TABLES:
        found[f"{_EMBEDDINGS}.{table}.weight"] = constants[f"{_EMBEDDINGS}.{table}.weight"]
    return _checked(architecture, found, "the graph")


def _from_fused(constants: _Constants, architecture: Architecture) -> dict[str, npt.NDArray[Any]]:
    """Tensors of a float32 graph that `graph.fused` built, taken apart again."""
    hidden = constants["words"].shape[1]
    unread = np.zeros((architecture.pad_id + 1, hidden), np.float32)
    found = {
        f"{_EMBEDDINGS}.word_embeddings.weight": constants["words"],
        f"{_EMBEDDINGS}.position_embeddings.weight": np.vstack([unread, constants["positions"]]),
        f"{_EMBEDDINGS}.token_type_embeddings.weight": np.zeros((1, hidden), np.float32),
    }
    for name in architecture.norms():
        found |= {f"{name}.{part}": constants[f"{name}.{part}"] for part in ("weight", "bias")}
    for joined, names in _joined(architecture):
        weights = np.split(constants[f"{joined}.weight"].T, len(names))
        biases = np.split(constants[f"{joined}.bias"], len(names))
        for name, weight, bias in zip(names, weights, biases, strict=True):
            found |= {f"{name}.weight": weight, f"{name}.bias": bias}
    return found


def _joined(architecture: Architecture) -> Iterator[tuple[str, list[str]]]:
    """Linear layers of a fused graph, and which ones of the model each of them holds."""
    for layer in range(architecture.layers):
        at = f"roberta.encoder.layer.{layer}"
        own = f"{at}.attention.self"
        query, key, value = (f"{own}.{part}" for part in ("query", "key", "value"))
        if layer < architecture.layers - 1:
            yield f"{own}.query_key_value", [query, key, value]
        else:
            yield query, [query]
            yield f"{own}.key_value", [key, value]
        for name in ("attention.output.dense", "intermediate.dense", "output.dense"):
            yield f"{at}.{name}", [f"{at}.{name}"]
    for name in ("classifier.dense", "classifier.out_proj"):
        yield name, [name]


class _Constants:
    """Constants of a graph by name, also under the names that Identity nodes give them."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        self._producers = {output: node for node in graph.node for output in node.output}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        tensor = self._resolve(name)
        if tensor is None:
            raise GraphError(f"the graph has no tensor {name}; was it exported with fused nodes?")
        return tensor

    def _resolve(self, name: str) -> npt.NDArray[Any] | None:
        if name in self._tensors:
            return np.asarray(numpy_helper.to_array(self._tensors[name]))
        prefixed = name if name.startswith("model.") else f"model.{name}"
        if prefixed in self._tensors:
            return np.asarray(numpy_helper.to_array(self._tensors[prefixed]))
        node = self._producers.get(name)
        if node is None:
            return None
        if node.op_type == "Identity":
            return self._resolve(node.input[0])
        if node.op_type == "Transpose":
            tensor = self._resolve(node.input[0])
            return None if tensor is None else tensor.T
        if node.op_type == "Constant":
            values = [a.t for a in node.attribute if a.name == "value"]
            return np.asarray(numpy_helper.to_array(values[0])) if values else None
        return None

    def weight_before(self, bias: str) -> npt.NDArray[Any]:
        """The weight, (outputs, inputs), of the layer that adds `bias`."""
        names = [name for name in (bias, f"model.{bias}") if name in self._readers]
        for node in (node for name in names for node in self._readers[name]):
            if node.op_type == "Gemm":
                weight = self._resolve(node.input[1])
                swapped = any(a.name == "transB" and a.i for a in node.attribute)
                if weight is not None:
                    return weight if swapped else weight.T
            if node.op_type == "Add":
                for name in node.input:
                    product = self._producers.get(name)
                    if product is not None and product.op_type == "MatMul":
                        weight = self._resolve(product.input[1])
                        if weight is not None:
                            return weight.T
        raise GraphError(f"no multiplication is found before {bias}; was the graph fused?")


def _checked(
    architecture: Architecture, tensors: Mapping[str, npt.NDArray[Any]], where: str
) -> Weights:
    hidden = tensors.get(f"{_EMBEDDINGS}.LayerNorm.bias", np.empty(0)).size
    names = [f"{_EMBEDDINGS}.{table}.weight" for table in _TABLES]
    names += [f"{n}.{part}" for n in architecture.norms() for part in ("weight", "bias")]
    names += [f"{n}.{part}" for n in architecture.linears() for part in ("weight", "bias")]
    kept: dict[str, Array] = {}
    for name in names:
        if name not in tensors:
            raise GraphError(f"{where} has no tensor {name}")
        value = np.asarray(tensors[name])
        if value.dtype not in (np.float32, np.float16, np.float64):
            raise GraphError(f"{where}: {name} is {value.dtype}, not floating point")
        kept[name] = np.ascontiguousarray(value, dtype=np.float32)
    for name in architecture.linears():
        weight, bias = kept[f"{name}.weight"], kept[f"{name}.bias"]
        if weight.ndim != 2 or weight.shape[0] != bias.size:
            raise GraphError(f"{where}: {name} has weight {weight.shape} and bias {bias.shape}")
    if hidden == 0 or hidden % architecture.heads:
        raise GraphError(
            f"{where}: {hidden} values of a token can't be divided among {architecture.heads} heads"
        )
    return Weights(architecture, kept)
