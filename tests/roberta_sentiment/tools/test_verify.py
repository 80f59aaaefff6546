"""`verify`: for each check a directory that only this check finds wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import typer
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from roberta_sentiment.model.artifact import DEFAULT_MODEL
from roberta_sentiment.model.layout import MANIFEST
from roberta_sentiment.tools.manifest import write_manifest
from roberta_sentiment.tools.verify.cli import command
from roberta_sentiment.tools.verify.result import Result, Status
from roberta_sentiment.tools.verify.run import CHECKS, verify
from tests import toy, zoo

POSITIONS = 34
"""Rows of the toy model's position table, for 32 tokens."""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The toy model with a position table and a manifest; every check passes or has no ground."""
    path = toy.write(tmp_path / "model", positions=POSITIONS)
    edit_graph(path, lambda graph: add_positions(graph, POSITIONS, "position_embeddings"))
    return path


def add_positions(graph: onnx.GraphProto, rows: int, name: str) -> None:
    """A table of zeros, of which a text of n tokens takes the rows 2 to n + 1."""
    graph.initializer.append(numpy_helper.from_array(np.zeros((rows, 2), np.float32), name))
    for constant, value in (("two", np.array(2)), ("one", np.array(1)), ("end", np.array([1]))):
        graph.initializer.append(numpy_helper.from_array(value, constant))
    nodes = [
        helper.make_node("Shape", ["input_ids"], ["length1"], start=1, end=2),
        helper.make_node("Squeeze", ["length1"], ["length"]),
        helper.make_node("Add", ["length", "two"], ["stop"]),
        helper.make_node("Range", ["two", "stop", "one"], ["places"]),
        helper.make_node("Gather", [name, "places"], ["placed"]),
        helper.make_node("Add", ["placed", "looked_up"], ["scores"]),
    ]
    first = graph.node[0]
    assert first.output[0] == "scores"
    first.output[0] = "looked_up"
    for node in reversed(nodes):
        graph.node.insert(1, node)


def edit_graph(path: Path, edit: Callable[[onnx.GraphProto], None]) -> None:
    model = onnx.load(str(path / "model.onnx"))
    edit(model.graph)
    onnx.save(model, str(path / "model.onnx"))


def edit_json(path: Path, **changes: object) -> None:
    content = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps(content), encoding="utf-8")


def manifest(path: Path, **facts: object) -> None:
    known: dict[str, Any] = {"precision": "fp32", "batch_invariant": True, **facts}
    write_manifest(path, name="toy", model="model.onnx", licence="MIT", origin="a test", **known)


def results(path: Path) -> dict[str, Result]:
    return dict(verify(path))


def figure(result: Result, name: str) -> float:
    return float(str(result.facts[name]))


def failures(path: Path) -> dict[str, str]:
    return {
        name: result.message
        for name, result in results(path).items()
        if result.status is Status.FAILED
    }


def test_a_sound_model_passes(model: Path) -> None:
    """With everything there, no check is skipped: else the tests below would show nothing."""
    vocab = toy.vocabulary()
    ids = [vocab["<s>"], vocab["good"], vocab["</s>"]]
    manifest(model, reference=[{"text": "good", "ids": ids, "logits": [0, 1]}])
    write_data(model, np.array([ids]), np.array([[0, 1]], np.float32))
    found = results(model)
    assert [check.name for check in CHECKS] == list(found)
    assert {Status.PASSED} == {result.status for result in found.values()}, found


def test_the_embedded_model_passes() -> None:
    """What is shipped is what the checks ask for."""
    assert {} == failures(DEFAULT_MODEL)


def test_the_published_graph_passes(tmp_path: Path) -> None:
    """Old names, no mask, weights under numbers: still a model, and its tables are found."""
    found = results(zoo.write(tmp_path / "model"))
    assert {} == {n: r.message for n, r in found.items() if r.status is Status.FAILED}
    assert {"words": 50265, "positions": 514} == found["embedding tables"].facts
    batched = found["batched equals alone"]
    assert figure(batched, "runs") < figure(batched, "rows"), "nothing shared a run"


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json", "model.onnx"])
def test_a_missing_file(model: Path, name: str) -> None:
    """It is named, and nothing is said of what could not be looked at."""
    (model / name).unlink()
    found = results(model)
    assert Status.FAILED is found["files"].status
    assert {Status.SKIPPED} == {r.status for n, r in found.items() if n != "files"}


def test_no_directory(tmp_path: Path) -> None:
    """A mistyped path is a finding like any other."""
    assert ["files"] == list(failures(tmp_path / "none"))


def test_a_changed_file(model: Path) -> None:
    """One bit of a table may turn every answer, and nothing else would show it."""
    manifest(model)
    edit_json(model / "config.json", harmless=1)
    assert ["checksums"] == list(failures(model))


def test_a_file_without_checksum(model: Path) -> None:
    """A tokenizer that came later would never be compared."""
    manifest(model)
    content = json.loads((model / MANIFEST).read_text(encoding="utf-8"))
    del content["files"]["tokenizer.json"]
    edit_json(model / MANIFEST, files=content["files"])
    assert {"checksums"} == failures(model).keys()
    assert "tokenizer.json" in failures(model)["checksums"]


@pytest.mark.parametrize("axis", [0, 1])
def test_a_fixed_axis(model: Path, axis: int) -> None:
    """An export without dynamic axes serves one shape only."""

    def fix(graph: onnx.GraphProto) -> None:
        for value in graph.input:
            value.type.tensor_type.shape.dim[axis].dim_value = 8

    edit_graph(model, fix)
    assert {"inputs and output"} == failures(model).keys()
    assert f"axis {axis} to 8" in failures(model)["inputs and output"]


def test_an_output_with_a_fixed_batch(model: Path) -> None:
    """ONNX Runtime only warns, once per request."""

    def fix(graph: onnx.GraphProto) -> None:
        graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1

    edit_graph(model, fix)
    assert ["inputs and output"] == list(failures(model))


def test_an_unknown_input(model: Path) -> None:
    """The server would not know what to feed it."""

    def add(graph: onnx.GraphProto) -> None:
        graph.input.append(helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch"]))

    edit_graph(model, add)
    assert {"inputs and output"} == failures(model).keys()
    assert "pixels" in failures(model)["inputs and output"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"id2label": {"0": "a", "1": "b", "2": "c"}}, "2 scores, but config.json names 3"),
        ({"label2id": {"negative": 1, "positive": 0}}, "contradicts itself"),
        ({"id2label": {"1": "a", "2": "b"}}, "must number its labels"),
    ],
)
def test_labels_that_do_not_fit(model: Path, changes: dict[str, Any], sentence: str) -> None:
    """Every answer would carry the wrong name."""
    edit_json(model / "config.json", **changes)
    assert {"labels"} == failures(model).keys()
    assert sentence in failures(model)["labels"]


@pytest.mark.parametrize("names", [True, False], ids=["named", "unnamed"])
def test_the_width_is_found_by_a_run(model: Path, names: bool) -> None:
    """Some exporters leave the output's width open."""

    def free(graph: onnx.GraphProto) -> None:
        axis = graph.output[0].type.tensor_type.shape.dim[1]
        axis.ClearField("dim_value")
        if names:
            axis.dim_param = "classes"

    edit_graph(model, free)
    assert {} == failures(model)
    edit_json(model / "config.json", id2label={"0": "a", "1": "b", "2": "c"})
    assert ["labels"] == list(failures(model))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"pad_token_id": 3}, "pad_token_id is 1, but config.json says 3"),
        ({"bos_token_id": 4}, "bos_token_id is 0, but config.json says 4"),
        ({"eos_token_id": 4}, "eos_token_id is 2, but config.json says 4"),
    ],
)
def test_special_tokens_that_do_not_fit(
    model: Path, changes: dict[str, Any], sentence: str
) -> None:
    """Padding would be read as a word."""
    edit_json(model / "config.json", max_position_embeddings=POSITIONS, **changes)
    assert {"tokenizer": f"the tokenizer's {sentence}"} == failures(model)


def test_no_padding_token(model: Path) -> None:
    """A tokenizer of another kind of model spells it out."""
    edit_json(model / "tokenizer.json")
    (model / "tokenizer_config.json").write_text('{"pad_token": {"content": "[PAD]"}}')
    assert {"tokenizer"} == failures(model).keys()
    assert "does not know [PAD] as one token" in failures(model)["tokenizer"]


def test_a_vocabulary_with_a_hole(model: Path) -> None:
    """Few tokens, one of them beyond the table: it fails for the one user who writes it."""
    content = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))
    vocab = content["model"]["vocab"]
    vocab["Ġit"] = 5000
    edit_json(model / "tokenizer.json", model=content["model"])
    assert {"tokenizer"} == failures(model).keys()
    assert "ids up to 5000" in failures(model)["tokenizer"]


def test_a_tokenizer_of_another_model(model: Path) -> None:
    """It knows more tokens than the model has rows."""
    edit_json(model / "config.json", vocab_size=100)
    assert {"tokenizer", "embedding tables"} == failures(model).keys()


def test_a_word_table_of_another_size(model: Path) -> None:
    """Ids that the configuration allows would be outside of the graph's table."""
    size = len(toy.vocabulary())
    edit_json(model / "config.json", vocab_size=size + 7)
    found = failures(model)
    assert {"embedding tables"} == found.keys()
    assert f"{size} rows for words" in found["embedding tables"]


def test_a_word_table_behind_a_cast(model: Path) -> None:
    """Exporters put nodes between the ids and the table, and name the table by a number."""

    def cast(graph: onnx.GraphProto) -> None:
        graph.node[0].input[1] = "ids32"
        graph.node.insert(
            0, helper.make_node("Cast", ["input_ids"], ["ids32"], to=TensorProto.INT32)
        )

    edit_graph(model, cast)
    assert len(toy.vocabulary()) == figure(results(model)["embedding tables"], "words")


@pytest.mark.parametrize("said", [POSITIONS - 4, POSITIONS + 4])
def test_a_position_table_of_another_size(model: Path, said: int) -> None:
    """Too few rows fail on long texts; too many are texts cut without need."""
    edit_json(model / "config.json", max_position_embeddings=said)
    found = failures(model)
    assert {"embedding tables"} == found.keys()
    assert f"{POSITIONS} rows for positions" in found["embedding tables"]


def test_scores_that_are_not_finite(model: Path) -> None:
    """One damaged row of the table is found among all tokens."""

    def damage(graph: onnx.GraphProto) -> None:
        table = next(tensor for tensor in graph.initializer if tensor.name == "table")
        values = numpy_helper.to_array(table).copy()
        values[toy.vocabulary()["Ġnot"]] = np.nan
        table.CopyFrom(numpy_helper.from_array(values, "table"))

    edit_graph(model, damage)
    assert {"finite scores"} == failures(model).keys()
    assert "not finite" in failures(model)["finite scores"]


def test_a_softmax_too_many(model: Path) -> None:
    """The server applies none of its own then; with the setting it needs both."""

    def add(graph: onnx.GraphProto) -> None:
        graph.node[-1].output[0] = "raw"
        graph.node.append(helper.make_node("Softmax", ["raw"], ["logits"], axis=1))

    edit_graph(model, add)
    assert {} == failures(model)
    assert "probabilities (softmax in the graph)" == results(model)["head"].message
    edit_json(model / "config.json", problem_type="multi_label_classification")
    assert "the graph ends in a softmax" in failures(model)["labels"]


def test_a_limit_that_does_not_hold(tmp_path: Path) -> None:
    """A table that can't be recognised by its name is found too short when a long text runs."""
    path = toy.write(tmp_path / "model", positions=POSITIONS)

    def hide(graph: onnx.GraphProto) -> None:
        add_positions(graph, POSITIONS - 1, "hidden")
        graph.initializer.append(
            numpy_helper.from_array(np.zeros((POSITIONS - 1, 2), np.float32), "raw")
        )
        graph.node.insert(0, helper.make_node("Abs", ["raw"], ["nameless"]))
        next(node for node in graph.node if "hidden" in node.input).input[0] = "nameless"

    edit_graph(path, hide)
    found = failures(path)
    assert {"position limit"} == found.keys()
    assert "1 x 32 tokens" in found["position limit"]


def test_padding_that_counts(model: Path) -> None:
    """A mask that the graph ignores: alone all is well, in a batch nothing."""

    def ignore(graph: onnx.GraphProto) -> None:
        graph.initializer.append(numpy_helper.from_array(np.ones((1, 1, 1), np.float32), "always"))
        next(node for node in graph.node if node.op_type == "Mul").input[1] = "always"

    edit_graph(model, ignore)
    assert {"batched equals alone"} == failures(model).keys()
    assert 5 <= figure(results(model)["batched equals alone"], "largest_difference")
    assert "runs each text by itself" in failures(model)["batched equals alone"]
    manifest(model, batch_invariant=False)
    assert {} == failures(model)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"logits": [0, 2]}, "[0.00000, 1.00000] came for 'good', but [0.00000, 2.00000]"),
        ({"logits": [0, 1, 0]}, "2 scores came, but 3 were published"),
        ({"text": "bad"}, "of 'bad'"),
        ({"ids": ["x"]}, "does not hold ids and logits"),
    ],
)
def test_another_answer_than_published(model: Path, change: dict[str, Any], sentence: str) -> None:
    """Right in every other way, and still not the model that it says it is."""
    vocab = toy.vocabulary()
    ids = [vocab["<s>"], vocab["good"], vocab["</s>"]]
    manifest(model, reference=[{"text": "good", "ids": ids, "logits": [0, 1]} | change])
    assert {"published answers"} == failures(model).keys()
    assert sentence in failures(model)["published answers"]


def test_an_int8_copy_is_not_held_to_fp32(model: Path) -> None:
    """Its answers differ, and `evaluate` says by how much."""
    manifest(model, precision="int8", reference=[{"ids": [0, 2], "logits": [9, 9]}])
    assert Status.SKIPPED is results(model)["published answers"].status


def write_data(path: Path, *tensors: Any) -> None:
    """A set of sample data: inputs, and last the output."""
    folder = path / "test_data_set_0"
    folder.mkdir(exist_ok=True)
    names = [f"input_{i}" for i in range(len(tensors) - 1)] + ["output_0"]
    for name, value in zip(names, tensors, strict=True):
        content = numpy_helper.from_array(value).SerializeToString()
        (folder / f"{name}.pb").write_bytes(content)


def test_sample_data_of_the_published_graph(tmp_path: Path) -> None:
    """PyTorch's own answers, in the types and shapes that the Model Zoo once gave them."""
    path = zoo.write(tmp_path / "model")
    write_data(path, np.array([[zoo.IDS[0]]], np.float64), zoo.LOGITS[:1, None, None].astype(float))
    found = results(path)["sample data"]
    assert Status.PASSED is found.status, found.message
    assert ["float64 inputs", "float64 outputs", "shape (1, 1, 1, 2)", "shape (1, 1, 7)"] == (
        found.facts["corrected"]
    )
    assert 1e-4 > figure(found, "largest_difference")


def test_sample_data_with_a_mask(model: Path) -> None:
    """A second input says which tokens count."""
    good, pad = toy.vocabulary()["good"], 1
    ids, mask = np.array([[good, good, good], [good, pad, pad]]), np.array([[1, 1, 0], [1, 0, 0]])
    write_data(model, ids, mask, np.array([[0, 2], [0, 1]], np.float32))
    assert Status.PASSED is results(model)["sample data"].status


@pytest.mark.parametrize(
    ("ids", "expected", "sentence"),
    [
        ([[5, 6]], [[0.5, 0.0]], "largest difference 5.0e-01"),
        ([[5.5, 6.0]], [[0.0, 0.0]], "not all are whole numbers"),
        ([[5, 6]], [[0.0, 0.0, 0.0]], "not 2 logits a row"),
        ([[5, 6]], [[0.0, 0.0], [0.0, 0.0]], "1 answers, but 2 expected"),
        ([[5, 999_999]], [[0.0, 0.0]], "999999 is not a token id"),
        (5, [[0.0, 0.0]], "it holds a tensor of shape ()"),
    ],
)
def test_sample_data_that_do_not_fit(
    model: Path, ids: Any, expected: list[list[float]], sentence: str
) -> None:
    """Wrong numbers and wrong shapes get different messages."""
    write_data(model, np.array(ids), np.array(expected, np.float32))
    assert {"sample data"} == failures(model).keys()
    assert sentence in failures(model)["sample data"]


@pytest.mark.parametrize("name", ["input_0.pb", "output_0.pb"])
@pytest.mark.parametrize("content", [None, b"\xff\xff"], ids=["missing", "damaged"])
def test_sample_data_that_are_none(model: Path, name: str, content: bytes | None) -> None:
    """Half a set proves nothing."""
    write_data(model, np.array([[5]]), np.array([[0, 0]], np.float32))
    file = model / "test_data_set_0" / name
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    assert ["sample data"] == list(failures(model))


@pytest.mark.parametrize("sound", [True, False], ids=["sound", "broken"])
def test_the_command(model: Path, tmp_path: Path, sound: bool) -> None:
    """A table for people, a file for programs, an exit code for scripts."""
    if not sound:
        edit_json(model / "config.json", bos_token_id=4)
    app = typer.Typer()
    app.command()(command)
    done = CliRunner().invoke(app, [str(model), "--json", str(tmp_path / "result.json")])
    content = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    failed = [check["name"] for check in content["checks"] if check["status"] == "failed"]
    assert (0 if sound else 1) == done.exit_code, done.output
    assert content["passed"] is sound
    assert ([] if sound else ["tokenizer"]) == failed
    assert all(check.name in done.stdout for check in CHECKS)
    assert ("fails: tokenizer" in done.stderr) is not sound
