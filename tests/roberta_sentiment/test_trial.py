"""What a graph does not declare: whether texts may share a run, and which shapes it takes."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.transformers.float16 import convert_float_to_float16
from rich.progress import Progress
from tokenizers import Tokenizer

from Model import Model
from roberta_sentiment.classifier import Classifier, load_classifier
from roberta_sentiment.errors import StartError
from roberta_sentiment.model.artifact import open_artifact
from roberta_sentiment.settings import Settings
from roberta_sentiment.tools.fetch.run import Options, fetch
from roberta_sentiment.tools.manifest import write_manifest
from roberta_sentiment.tools.verify.result import Status
from roberta_sentiment.tools.verify.run import verify
from tests import families, toy

SMALL = Settings(threads=1, window_overlap=8)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.unpack(tmp_path_factory.mktemp("families"), ["bert"]) / "bert" / "softmax2"


@pytest.fixture
def model(bert: Path, tmp_path: Path) -> Path:
    """A copy of a tiny BERT."""
    return Path(shutil.copytree(bert, tmp_path / "model"))


def to_dynamic(path: Path) -> None:
    quantize_dynamic(path, path, weight_type=QuantType.QInt8)


def to_half(path: Path) -> None:
    onnx.save(convert_float_to_float16(onnx.load(path), keep_io_types=True), path)


def to_half_logits(path: Path) -> None:
    onnx.save(convert_float_to_float16(onnx.load(path), keep_io_types=False), path)


def to_hidden_scale(path: Path) -> None:
    """Scale all logits by the largest one of the batch, with no operator that shows it."""
    graph = onnx.load(path)
    graph.graph.node[-1].output[0] = "raw"
    graph.graph.node.extend(
        [
            helper.make_node("ReduceMax", ["raw"], ["most"], keepdims=1),
            helper.make_node("Add", ["raw", "most"], ["logits"]),
        ]
    )
    onnx.save(graph, path)


def load(path: Path) -> Classifier:
    return load_classifier(open_artifact(path), SMALL)


@pytest.mark.parametrize("claim", [None, True], ids=["no manifest", "manifest claims it"])
@pytest.mark.parametrize(
    ("change", "precision"),
    [(to_dynamic, "int8"), (to_half, "fp16"), (to_half_logits, "fp16"), (to_hidden_scale, "fp32")],
)
def test_texts_that_would_change_each_other_run_alone(
    model: Path, change: Callable[[Path], None], precision: str, claim: bool | None
) -> None:
    """Scales taken from the batch, 16 bits: an answer must not depend on the others, whatever a
    manifest says.
    """
    change(model / "model.onnx")
    if claim:
        write_manifest(
            model, name="x", model="model.onnx", precision=precision, batch_invariant=True,
            licence="MIT", origin="a test",
        )  # fmt: skip
    assert precision == open_artifact(model).precision
    classifier = load(model)
    texts = ["good", "a very long and boring film", "bad plot", "great"]
    together = classifier.classify(texts)
    alone = np.concatenate([classifier.classify([text]).logits for text in texts])
    np.testing.assert_array_equal(alone, together.logits)
    assert len(texts) == together.work.batches


class Sentences(CalibrationDataReader):  # type: ignore[misc]
    """The reference texts of a tiny BERT, for ONNX Runtime's static quantiser."""

    def __init__(self, model: Path) -> None:
        rows = [np.array([ids]) for ids in families.read_reference(model).ids]
        names = ("input_ids", "attention_mask", "token_type_ids")
        self._rows = iter(
            dict(zip(names, (ids, np.ones_like(ids), np.zeros_like(ids)), strict=True))
            for ids in rows
        )

    def get_next(self) -> dict[str, Any] | None:
        return next(self._rows, None)


@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator], ids=str)
def test_a_mask_that_quantisation_weakens_is_noticed(model: Path, form: QuantFormat) -> None:
    """Static scales mix no texts, but in eight bits -10,000 hides padding no more."""
    quantize_static(
        model / "model.onnx",
        model / "model.onnx",
        Sentences(model),
        quant_format=form,
        op_types_to_quantize=["MatMul", "Gemm", "Add", "Softmax"],
    )
    assert open_artifact(model).batch_invariant
    classifier = load(model)
    assert classifier.trial.one_per_batch
    assert 3 == classifier.classify(["good", "a very long film", "bad plot"]).work.batches


def test_a_manifest_may_ask_for_single_runs(model: Path) -> None:
    """Its maker may know more than the graph shows."""
    write_manifest(
        model, name="x", model="model.onnx", precision="fp32", batch_invariant=False,
        licence="MIT", origin="a test",
    )  # fmt: skip
    assert 2 == load(model).classify(["good", "bad"]).work.batches


@pytest.mark.parametrize(
    ("change", "invariant"), [(to_dynamic, False), (to_half, False), (lambda path: None, True)]
)
def test_fetch_enters_what_the_graph_shows(
    model: Path, tmp_path: Path, change: Callable[[Path], None], invariant: bool
) -> None:
    """fp16 was once entered as invariant, and verify then disproved it."""
    change(model / "model.onnx")
    fetch(str(model), tmp_path / "fetched", Options(), Progress(disable=True))
    artifact = open_artifact(tmp_path / "fetched")
    assert invariant == artifact.manifest["batch_invariant"] == artifact.batch_invariant
    assert [] == [
        result.message
        for name, result in verify(tmp_path / "fetched")
        if result.status is Status.FAILED and name != "checksums"
    ]


def fix_axis(path: Path, axis: int, size: int) -> None:
    graph = onnx.load(path)
    for value in graph.graph.input:
        value.type.tensor_type.shape.dim[axis].dim_value = size
    onnx.save(graph, path)


def reshape_to(path: Path, batch: int, length: int) -> None:
    """Fix a shape inside of the graph, behind axes that are declared free."""
    graph = onnx.load(path)
    ids = graph.graph.input[0].name
    graph.graph.initializer.append(numpy_helper.from_array(np.array([batch, length]), "fixed"))
    for node in graph.graph.node:
        node.input[:] = ["shaped" if name == ids else name for name in node.input]
    graph.graph.node.insert(0, helper.make_node("Reshape", [ids, "fixed"], ["shaped"]))
    onnx.save(graph, path)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda path: fix_axis(path, 0, 1), id="declared"),
        pytest.param(lambda path: reshape_to(path, 1, -1), id="inside"),
    ],
)
def test_a_batch_of_one_is_served_text_by_text(model: Path, change: Callable[[Path], None]) -> None:
    """A fixed batch costs speed, and no answer."""
    reference = families.read_reference(model)
    change(model / "model.onnx")
    predictions = load(model).classify(reference.texts)
    np.testing.assert_allclose(predictions.logits, reference.logits, atol=1e-5)
    assert len(reference.texts) == predictions.work.batches


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda path: fix_axis(path, 1, 5), id="length"),
        pytest.param(lambda path: fix_axis(path, 0, 2), id="batch"),
        pytest.param(lambda path: reshape_to(path, -1, 5), id="length inside"),
        pytest.param(lambda path: reshape_to(path, 2, -1), id="batch inside"),
    ],
)
def test_other_fixed_axes_abort(model: Path, change: Callable[[Path], None]) -> None:
    """They once started, and every request failed."""
    change(model / "model.onnx")
    with pytest.raises(StartError, match="dynamic axes for batch and length") as caught:
        load(model)
    assert len(caught.value.message) <= 300


def test_the_toy_without_mask_shares_runs_of_one_length(tmp_path: Path) -> None:
    """A graph without a mask mixes nothing as long as there is no padding."""
    classifier = load(toy.write(tmp_path / "toy", mask=False))
    predictions = classifier.classify(["good film", "bad film", "good"])
    assert 2 == predictions.work.batches
    np.testing.assert_array_equal([[0, 1], [1, 0], [0, 1]], predictions.logits)


def one_axis(graph: onnx.GraphProto) -> None:
    graph.node[-1].output[0] = "wide"
    graph.node.append(helper.make_node("Squeeze", ["wide", "last_axis"], ["logits"]))
    graph.initializer.append(numpy_helper.from_array(np.array([1]), "last_axis"))
    del graph.output[0].type.tensor_type.shape.dim[1]


def test_an_output_of_one_axis_is_a_column(bert: Path, tmp_path: Path) -> None:
    """Some exports of ratings give (batch,)."""
    source = families.unpack(tmp_path / "all", ["bert"]) / "bert" / "regression"
    graph = onnx.load(source / "model.onnx")
    one_axis(graph.graph)
    onnx.save(graph, source / "model.onnx")
    reference = families.read_reference(source)
    predictions = load(source).classify(reference.texts)
    np.testing.assert_allclose(predictions.probabilities, reference.scores, atol=1e-5)


def test_names_of_tensorflow_and_more_outputs(model: Path) -> None:
    """`input_ids:0`, hidden states beside the logits: it is clear what is what."""
    graph = onnx.load(model / "model.onnx")
    hidden = next(
        n for n in graph.graph.node if n.op_type == "LayerNormalization" or n.op_type == "Add"
    )
    graph.graph.output.insert(
        0, helper.make_tensor_value_info(hidden.output[0], TensorProto.FLOAT, None)
    )
    for value in graph.graph.input:
        for node in graph.graph.node:
            node.input[:] = [f"{n}:0" if n == value.name else n for n in node.input]
        value.name = f"{value.name}:0"
    onnx.save(graph, model / "model.onnx")
    reference = families.read_reference(model)
    predictions = load(model).classify(reference.texts)
    np.testing.assert_allclose(predictions.logits, reference.logits, atol=1e-5)


def test_a_tokenizer_with_dropout_answers_always_the_same(tmp_path: Path) -> None:
    """BPE dropout is for training; in service it gave one text four answers."""
    path = families.unpack(tmp_path, ["roberta"]) / "roberta" / "softmax2"
    content = json.loads((path / "tokenizer.json").read_text(encoding="utf-8"))
    content["model"]["dropout"] = 0.5
    (path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    reference = families.read_reference(path)
    classifier = load(path)
    for _ in range(5):
        ids = [text.windows[0] for text in classifier.tokenizer.encode(reference.texts, "end")]
        assert reference.ids == ids


@pytest.mark.parametrize("special", [True, False], ids=["special", "plain"])
def test_a_token_beyond_the_table_aborts(model: Path, special: bool) -> None:
    """It would start, and fail only for texts with that word."""
    content = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))
    size = len(content["model"]["vocab"])
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    (model / "config.json").write_text(json.dumps(config | {"vocab_size": size}))
    token = {"id": size, "content": "cinema", "single_word": False, "lstrip": False}
    token |= {"rstrip": False, "normalized": not special, "special": special}
    content["added_tokens"].append(token)
    (model / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(StartError, match=rf"ids up to {size} \('cinema'\)") as caught:
        load(model)
    assert len(caught.value.message.replace(str(model), "")) <= 300


def test_the_graph_knows_its_rows_better_than_the_configuration(model: Path) -> None:
    """vocab_size may say more than the exported table has."""
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    (model / "config.json").write_text(json.dumps(config | {"vocab_size": 9999}))
    assert 160 == open_artifact(model).vocab_size


def test_a_vocab_txt_alone_is_enough(model: Path) -> None:
    """Older repositories of BERT have nothing else."""
    reference = families.read_reference(model)
    vocabulary = Tokenizer.from_file(str(model / "tokenizer.json")).get_vocab()
    lines = sorted(vocabulary, key=vocabulary.__getitem__)
    (model / "vocab.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (model / "tokenizer.json").unlink()
    (model / "tokenizer_config.json").unlink()
    ids = [text.windows[0] for text in load(model).tokenizer.encode(reference.texts, "end")]
    assert reference.ids == ids


@pytest.mark.parametrize("name", ["sentencepiece.bpe.model", "spm.model", "spiece.model"])
def test_a_sentencepiece_file_alone_says_how_to_go_on(
    model: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package that reads it is not installed in the server."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (model / name).write_bytes(b"")
    (model / "tokenizer.json").unlink()
    with pytest.raises(StartError, match=r"AutoTokenizer\.from_pretrained\(DIR\)") as caught:
        load(model)
    assert len(caught.value.message.replace(str(model), "")) <= 300


@pytest.mark.parametrize(("lower", "known"), [(None, True), (True, True), (False, False)])
def test_tokenizer_config_decides_over_capitals(
    model: Path, lower: bool | None, known: bool
) -> None:
    """transformers lets do_lower_case win over tokenizer.json."""
    config = {} if lower is None else {"do_lower_case": lower}
    (model / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    small, capital = load(model).tokenizer.encode(["good", "GOOD"], "end")
    assert known == (small.windows == capital.windows)


def test_a_model_that_needs_no_special_tokens_has_none(model: Path) -> None:
    """GPT-2 reads a text without special tokens; a BERT without [CLS] would answer nonsense."""
    content = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))
    (model / "tokenizer.json").write_text(json.dumps(content | {"post_processor": None}))
    with pytest.raises(StartError, match="post-processor is missing"):
        load(model)
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config |= {"model_type": "gpt2", "n_positions": 30, "pad_token_id": None}
    del config["max_position_embeddings"]
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
    classifier = load(model)
    (text,) = classifier.tokenizer.encode(["good film"], "end")
    assert (2, 30) == (len(text.windows[0]), classifier.tokenizer.limit)
    (scored,) = classifier.classify_ids([[*text.windows[0], 0]]).tokens
    assert 3 == scored, "0 is a token like any other where there is no padding"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda path: fix_axis(path, 1, 5), id="by the graph"),
        pytest.param(lambda path: reshape_to(path, -1, 5), id="by the trial"),
    ],
)
def test_the_server_says_it_in_one_line_before_it_forks(
    model: Path, change: Callable[[Path], None]
) -> None:
    """Each of its processes would log it again, and the wrapper would restart them."""
    change(model / "model.onnx")
    before = threading.active_count()
    with pytest.raises(SystemExit, match=r"^cannot start: .*dynamic axes") as caught:
        Model(model_uri=str(model), threads=1, window_overlap=8)
    assert "\n" not in str(caught.value)
    assert before == threading.active_count()
