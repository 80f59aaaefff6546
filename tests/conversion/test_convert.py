"""`convert`: what it writes is the checkpoint, and what differs is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed here; run make test-torch")

from roberta_sentiment.classifier import load_classifier
from roberta_sentiment.errors import (
    ArtifactError,
    AxesDifferError,
    NamesDifferError,
    ShapesDifferError,
    ValuesDifferError,
)
from roberta_sentiment.model.artifact import open_artifact
from roberta_sentiment.settings import Settings
from roberta_sentiment.tools.convert import TOLERANCES, compare, convert
from tests import toy
from tests.conversion.checkpoint import classifier, export

TOLERANCE = TOLERANCES["fp32"]
TEXTS = ["so good", "it is not bad", "a film. " * 40, "bad"]


@pytest.fixture(scope="module")
def model() -> Any:
    """A classifier whose word table fits the toy tokenizer."""
    return classifier(len(toy.vocabulary()))


@pytest.fixture
def checkpoint(tmp_path: Path, model: Any) -> Path:
    """A Hugging Face directory with safetensors and a tokenizer."""
    folder = tmp_path / "checkpoint"
    model.save_pretrained(folder)
    toy.tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def logits(directory: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
    """What the server would answer to `TEXTS`."""
    return load_classifier(open_artifact(directory), Settings(threads=1)).classify(TEXTS).logits


def test_a_checkpoint_becomes_a_model_directory(tmp_path: Path, checkpoint: Path) -> None:
    """The manifest says how near the graph is to PyTorch, and every file is in it."""
    done = convert(checkpoint, tmp_path / "model", licence="MIT", origin="a test")
    artifact = open_artifact(tmp_path / "model")
    assert done.largest_difference <= TOLERANCE
    assert done.largest_difference == artifact.manifest["conversion"]["largest_difference"]
    assert ("fp32", "MIT", "a test") == tuple(
        artifact.manifest[name] for name in ("precision", "licence", "origin")
    )
    assert {"config.json", "model.onnx", "tokenizer.json"} == artifact.manifest["files"].keys()


def test_answers_are_those_of_pytorch(tmp_path: Path, checkpoint: Path, model: Any) -> None:
    """Text by text, through the tokenizer and in one batch."""
    convert(checkpoint, tmp_path / "model")
    tokenizer = toy.tokenizer()
    for text, got in zip(TEXTS, logits(tmp_path / "model"), strict=True):
        ids = torch.tensor([tokenizer.encode(text).ids])
        with torch.inference_mode():
            np.testing.assert_allclose(model(input_ids=ids).logits[0].numpy(), got, atol=TOLERANCE)


def test_a_checkpoint_in_half_has_half_the_bytes(tmp_path: Path, checkpoint: Path) -> None:
    """For a GPU; its manifest says that on a CPU each text runs by itself."""
    convert(checkpoint, tmp_path / "full")
    done = convert(checkpoint, tmp_path / "half", precision="fp16", tolerance=2e-2)
    artifact = open_artifact(tmp_path / "half")
    assert ("fp16", False) == (artifact.precision, artifact.batch_invariant)
    assert TOLERANCE < done.largest_difference <= 2e-2
    full, half = ((tmp_path / n / "model.onnx").stat().st_size for n in ("full", "half"))
    assert half < 0.7 * full
    np.testing.assert_allclose(logits(tmp_path / "full"), logits(tmp_path / "half"), atol=2e-2)


def test_half_has_a_tolerance_of_its_own(tmp_path: Path, checkpoint: Path) -> None:
    """Rounding to 16 bits is no fault of the conversion, up to a limit."""
    with pytest.raises(ValuesDifferError, match="more than 1e-06"):
        convert(checkpoint, tmp_path / "half", precision="fp16", tolerance=1e-6)


@pytest.mark.parametrize("mask", [True, False], ids=["mask", "no mask"])
def test_exports_of_this_torch_give_the_same_answers(
    tmp_path: Path, checkpoint: Path, model: Any, *, mask: bool
) -> None:
    """The exporter changes from release to release; the answers must not."""
    convert(checkpoint, tmp_path / "model")
    exported = tmp_path / "exported"
    shutil.copytree(tmp_path / "model", exported)
    (exported / "manifest.json").unlink()
    export(model, exported / "model.onnx", mask=mask)
    np.testing.assert_allclose(logits(tmp_path / "model"), logits(exported), atol=TOLERANCE)


def test_a_bare_state_dict_of_old_names(tmp_path: Path, model: Any) -> None:
    """The published pytorch_model.bin: no config.json, and normalisations called gamma and beta."""
    old_names = (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta"))
    state = {}
    for key, value in model.state_dict().items():
        for today, old in old_names:
            key = key.replace(today, old)
        state[key] = value
    torch.save(state, tmp_path / "pytorch_model.bin")
    tokenizer = tmp_path / "tokenizer"
    tokenizer.mkdir()
    toy.tokenizer().save(str(tokenizer / "tokenizer.json"))
    convert(tmp_path / "pytorch_model.bin", tmp_path / "model", tokenizer=tokenizer)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert (2, 16, len(toy.vocabulary())) == tuple(
        config[name] for name in ("num_hidden_layers", "hidden_size", "vocab_size")
    )


def test_a_pickle_with_code_is_refused(tmp_path: Path) -> None:
    """Nothing of a file is run, whatever it asks for."""
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (ran,)

    torch.save({"classifier.out_proj.bias": Evil()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ArtifactError, match="is not a plain state dict"):
        convert(tmp_path, tmp_path / "model")
    assert not ran.exists()
    assert not (tmp_path / "model").exists()


def test_a_directory_without_weights_is_refused(tmp_path: Path) -> None:
    """The message names what is looked for."""
    with pytest.raises(ArtifactError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        convert(tmp_path, tmp_path / "model")


def test_no_tokenizer(tmp_path: Path, checkpoint: Path) -> None:
    """A model directory without one serves nobody, so none is written."""
    (checkpoint / "tokenizer.json").unlink()
    with pytest.raises(ArtifactError, match="name its directory \\(--tokenizer\\)"):
        convert(checkpoint, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def rename(graph: onnx.ModelProto) -> None:
    graph.graph.output[0].name = "answer"
    graph.graph.node[-1].output[0] = "answer"


def fix_axis(graph: onnx.ModelProto) -> None:
    graph.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 7


def reshape(graph: onnx.ModelProto) -> None:
    """Leave the second class out, and still declare a width."""
    graph.graph.node[-1].op_type = "Slice"
    for name, value in (("from", 0), ("to", 1), ("along", 1)):
        tensor = onnx.numpy_helper.from_array(np.array([value]), name)
        graph.graph.initializer.append(tensor)
        graph.graph.node[-1].input.append(name)
    graph.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1


def damage(graph: onnx.ModelProto) -> None:
    """Add a thousandth to one bias of the head."""
    for tensor in graph.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.shape == (2,) and values.dtype == np.float32:
            tensor.CopyFrom(onnx.numpy_helper.from_array(values + np.float32(1e-3), tensor.name))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (rename, NamesDifferError),
        (fix_axis, AxesDifferError),
        (reshape, ShapesDifferError),
        (damage, ValuesDifferError),
    ],
)
def test_each_kind_of_difference_has_its_error(
    tmp_path: Path, checkpoint: Path, model: Any, change: Any, error: type[Exception]
) -> None:
    """A conversion that is off by anything must not reach a server."""
    convert(checkpoint, tmp_path / "model")
    path = tmp_path / "model" / "model.onnx"
    graph = onnx.load(str(path))
    change(graph)
    onnx.save(graph, str(path))
    with pytest.raises(error):
        compare(path, model.state_dict(), model.config.to_dict(), TOLERANCE)


def test_a_checkpoint_in_pieces_is_read(tmp_path: Path, model: Any, checkpoint: Path) -> None:
    """Large ones come so; the index names the pieces."""
    pieces = tmp_path / "pieces"
    shutil.copytree(checkpoint, pieces)
    (pieces / "model.safetensors").unlink()
    model.save_pretrained(pieces, max_shard_size="4KB")
    assert 1 < len(list(pieces.glob("model-0*.safetensors")))
    convert(checkpoint, tmp_path / "whole")
    convert(pieces, tmp_path / "model")
    np.testing.assert_array_equal(logits(tmp_path / "whole"), logits(tmp_path / "model"))
    next(pieces.glob("model-0*.safetensors")).unlink()
    with pytest.raises(ArtifactError, match=r"is missing, but model\.safetensors\.index\.json"):
        convert(pieces, tmp_path / "model")


def test_the_checkpoint_itself_is_no_target(checkpoint: Path) -> None:
    """It may be the only one."""
    with pytest.raises(ArtifactError, match="which is read; name another target"):
        convert(checkpoint, checkpoint, replace=True)
    assert (checkpoint / "model.safetensors").exists()
