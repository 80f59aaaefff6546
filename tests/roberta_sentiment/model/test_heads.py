"""Heads: how outputs become scores, who decides it, and what contradicts itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from seldon_core.proto import prediction_pb2
from typer.testing import CliRunner

from Model import Model
from roberta_sentiment.__main__ import app
from roberta_sentiment.classifier import load_classifier
from roberta_sentiment.errors import StartError
from roberta_sentiment.model.artifact import open_artifact
from roberta_sentiment.model.heads import Activation, Head, decide_head, sigmoid, softmax
from roberta_sentiment.settings import HeadSetting, Settings
from roberta_sentiment.tools.score.run import score
from tests import families, toy

SMALL = Settings(threads=1, window_overlap=8)
SINGLE, MULTI = "single_label_classification", "multi_label_classification"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.unpack(tmp_path_factory.mktemp("families"), ["bert"]) / "bert"


@pytest.mark.parametrize(
    ("problem", "classes", "found", "head"),
    [
        pytest.param(None, 2, None, Head("softmax"), id="classes"),
        pytest.param(None, 1, None, Head("identity"), id="one label"),
        pytest.param(SINGLE, 3, None, Head("softmax"), id="single"),
        pytest.param(MULTI, 28, None, Head("sigmoid"), id="multi"),
        pytest.param(MULTI, 1, None, Head("sigmoid"), id="multi of one"),
        pytest.param("regression", 1, None, Head("identity"), id="regression"),
        pytest.param("regression", 3, None, Head("identity"), id="regression of three"),
        pytest.param(None, 2, "softmax", Head("softmax", True), id="softmax in graph"),
        pytest.param(SINGLE, 2, "softmax", Head("softmax", True), id="single, softmax in graph"),
        pytest.param(None, 5, "sigmoid", Head("sigmoid", True), id="sigmoid in graph"),
        pytest.param(MULTI, 5, "sigmoid", Head("sigmoid", True), id="multi, sigmoid in graph"),
        pytest.param(None, 1, "sigmoid", Head("sigmoid", True), id="one label, sigmoid in graph"),
        pytest.param(SINGLE, 1, "sigmoid", Head("sigmoid", True), id="yes or no"),
        pytest.param("regression", 1, "sigmoid", Head("identity", True), id="bounded regression"),
    ],
)
def test_the_head_is_read(
    problem: str | None, classes: int, found: Activation | None, head: Head
) -> None:
    """What configuration and graph say together decides."""
    assert head == decide_head("auto", {"problem_type": problem}, classes, found)


@pytest.mark.parametrize(
    ("setting", "problem", "classes", "found", "words"),
    [
        pytest.param("auto", SINGLE, 1, None, "head to sigmoid", id="single of one"),
        pytest.param("auto", MULTI, 2, "softmax", "head to probabilities", id="multi, softmax"),
        pytest.param("auto", SINGLE, 2, "sigmoid", "head to probabilities", id="single, sigmoid"),
        pytest.param("auto", "regression", 2, "softmax", "probabilities", id="regression, softmax"),
        pytest.param("auto", "ranking", 2, None, "known are single", id="unknown problem"),
        pytest.param("auto", None, 1, "softmax", "always 1", id="softmax of one in graph"),
        pytest.param("softmax", None, 1, None, "always 1", id="softmax of one"),
        pytest.param("softmax", None, 2, "softmax", "second activation", id="softmax twice"),
        pytest.param("sigmoid", None, 2, "sigmoid", "second activation", id="sigmoid twice"),
        pytest.param("sigmoid", None, 2, "softmax", "second activation", id="both"),
        pytest.param("identity", None, 1, "softmax", "always 1", id="value of one in graph"),
        pytest.param("probabilities", None, 1, "softmax", "always 1", id="probability of one"),
        pytest.param("auto", ["regression"], 1, None, "known are single", id="a list of problems"),
    ],
)
def test_contradictions_abort(
    setting: HeadSetting, problem: object, classes: int, found: Activation | None, words: str
) -> None:
    """A score that may be wrong is worse than none; the sentence says what to set."""
    with pytest.raises(StartError, match=words) as caught:
        decide_head(setting, {"problem_type": problem}, classes, found)
    assert len(caught.value.message) <= 300


@pytest.mark.parametrize(
    ("setting", "problem", "classes", "found", "head"),
    [
        ("sigmoid", SINGLE, 2, None, Head("sigmoid")),
        ("softmax", MULTI, 2, None, Head("softmax")),
        ("identity", MULTI, 2, "sigmoid", Head("identity")),
        ("probabilities", None, 2, None, Head("softmax", True)),
        ("probabilities", MULTI, 2, "softmax", Head("softmax", True)),
        ("probabilities", MULTI, 2, None, Head("sigmoid", True)),
        ("probabilities", SINGLE, 1, None, Head("sigmoid", True)),
        ("probabilities", "regression", 1, None, Head("sigmoid", True)),
        ("probabilities", "regression", 3, None, Head("softmax", True)),
        ("probabilities", "regression", 3, "sigmoid", Head("sigmoid", True)),
        ("probabilities", "ranking", 2, None, Head("softmax", True)),
    ],
)
def test_the_setting_wins(
    setting: HeadSetting, problem: str | None, classes: int, found: Activation | None, head: Head
) -> None:
    """A configuration may be wrong, and its user know better."""
    assert head == decide_head(setting, {"problem_type": problem}, classes, found)


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=5))
def test_sigmoid_is_stable(row: list[float]) -> None:
    """Logits of 10,000 must not overflow, and the two sides of 0 mirror each other."""
    logits = np.array([row], dtype=np.float32)
    np.testing.assert_allclose(1 - sigmoid(logits), sigmoid(-logits), atol=1e-15)


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=5))
def test_softmax_is_stable(row: list[float]) -> None:
    """Logits of 10,000 must not overflow."""
    for rows in ([row], [row, [0.0] * len(row)]):
        logits = np.array(rows, dtype=np.float64)
        exact = np.exp(logits - logits.max(axis=1)[:, None])
        expected = exact / exact.sum(axis=1)[:, None]
        np.testing.assert_allclose(expected, softmax(logits.astype(np.float32)), atol=1e-12)


def change(
    model: Path, target: Path, edit: Callable[[onnx.GraphProto], None], **config: Any
) -> Path:
    shutil.copytree(model, target)
    content = onnx.load(target / "model.onnx")
    edit(content.graph)
    onnx.save(content, target / "model.onnx")
    known = json.loads((target / "config.json").read_text(encoding="utf-8")) | config
    (target / "config.json").write_text(json.dumps(known), encoding="utf-8")
    return target


def add_nodes(*nodes: tuple[str, list[str], str]) -> Callable[[onnx.GraphProto], None]:
    """Put nodes (type, inputs, output) behind what was called logits, which is `raw` now."""

    def edit(graph: onnx.GraphProto) -> None:
        graph.node[-1].output[0] = "raw"
        constants = {
            "axis": np.array([1]),
            "one": np.float32(1),
            "step": np.float32(1 / 256),
            "zero": np.uint8(0),
        }
        for name, value in constants.items():
            graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        for kind, inputs, output in nodes:
            graph.node.append(helper.make_node(kind, inputs, [output]))

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(add_nodes(("Softmax", ["raw"], "logits")), id="softmax"),
        pytest.param(
            add_nodes(("Softmax", ["raw"], "soft"), ("Identity", ["soft"], "logits")), id="identity"
        ),
        pytest.param(
            add_nodes(
                ("Exp", ["raw"], "exp"),
                ("ReduceSum", ["exp", "axis"], "sum"),
                ("Div", ["exp", "sum"], "logits"),
            ),
            id="in pieces",
        ),
        pytest.param(add_nodes(("LogSoftmax", ["raw"], "logits")), id="logarithms"),
        pytest.param(
            add_nodes(
                ("Softmax", ["raw"], "soft"),
                ("QuantizeLinear", ["soft", "step", "zero"], "eight"),
                ("DequantizeLinear", ["eight", "step", "zero"], "logits"),
            ),
            id="eight bits",
        ),
    ],
)
def test_no_softmax_is_applied_twice(
    models: Path, tmp_path: Path, edit: Callable[[onnx.GraphProto], None]
) -> None:
    """However the graph makes its probabilities, those are the scores."""
    reference = families.read_reference(models / "softmax2")
    path = change(models / "softmax2", tmp_path / "model", edit)
    classifier = load_classifier(open_artifact(path), SMALL)
    scores = classifier.classify(reference.texts).probabilities
    rounding = 1 / 256 if classifier.artifact.precision == "int8" else 1e-6
    np.testing.assert_allclose(scores, reference.scores, atol=rounding)


SIGMOID_IN_PIECES = (
    ("Neg", ["raw"], "negative"),
    ("Exp", ["negative"], "exp"),
    ("Add", ["exp", "one"], "sum"),
)


@pytest.mark.parametrize(
    "last",
    [("Div", ["one", "sum"], "logits"), ("Reciprocal", ["sum"], "logits")],
    ids=["quotient", "reciprocal"],
)
def test_a_sigmoid_in_pieces_is_seen(
    models: Path, tmp_path: Path, last: tuple[str, list[str], str]
) -> None:
    """A second one would put every score between 0.5 and 0.73."""
    reference = families.read_reference(models / "sigmoid")
    path = change(models / "sigmoid", tmp_path / "model", add_nodes(*SIGMOID_IN_PIECES, last))
    classifier = load_classifier(open_artifact(path), SMALL)
    assert Head("sigmoid", in_graph=True) == classifier.head
    scores = classifier.classify(reference.texts).probabilities
    np.testing.assert_allclose(scores, reference.scores, atol=1e-6)


def test_a_probability_of_an_unknown_form_is_a_setting(models: Path, tmp_path: Path) -> None:
    """One label and no visible sigmoid: a value, unless the user says what it is."""
    edit = add_nodes(("Sigmoid", ["raw"], "soft"), ("Mul", ["soft", "one"], "logits"))
    path = change(models / "regression", tmp_path / "model", edit, problem_type=None)
    assert Head("identity") == load_classifier(open_artifact(path), SMALL).head
    settings = Settings(threads=1, window_overlap=8, head="probabilities")
    classifier = load_classifier(open_artifact(path), settings)
    assert Head("sigmoid", in_graph=True) == classifier.head
    reference = families.read_reference(models / "regression")
    scores = classifier.classify(reference.texts).probabilities
    np.testing.assert_allclose(scores, sigmoid(reference.logits.astype(np.float32)), atol=1e-6)


def test_values_that_are_called_probabilities_abort(models: Path) -> None:
    """A multi-label model's logits are not from 0 to 1."""
    settings = Settings(threads=1, window_overlap=8, head="probabilities")
    with pytest.raises(StartError, match="not from 0 to 1"):
        load_classifier(open_artifact(models / "sigmoid"), settings)


def test_logits_that_look_like_probabilities_are_reported(
    models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody can decide it, so the log says how scores were taken."""
    edit = add_nodes(("Sigmoid", ["raw"], "soft"), ("Mul", ["soft", "one"], "logits"))
    path = change(models / "sigmoid", tmp_path / "model", edit)
    load_classifier(open_artifact(path), SMALL)
    assert "from 0 to 1 and get a sigmoid; if they are probabilities already" in caplog.text
    caplog.clear()
    load_classifier(open_artifact(models / "sigmoid"), SMALL)
    assert "from 0 to 1" not in caplog.text


def test_probabilities_of_an_unknown_form_abort(models: Path, tmp_path: Path) -> None:
    """The graph does not show its softmax, but its answers do: nobody but the user can decide."""
    edit = add_nodes(
        ("Exp", ["raw"], "exp"),
        ("ReduceSum", ["exp", "axis"], "sum"),
        ("Reciprocal", ["sum"], "part"),
        ("Mul", ["exp", "part"], "logits"),
    )
    path = change(models / "softmax2", tmp_path / "model", edit)
    with pytest.raises(StartError, match="sum to 1 already; set the parameter head"):
        load_classifier(open_artifact(path), SMALL)
    settings = Settings(threads=1, window_overlap=8, head="probabilities")
    reference = families.read_reference(models / "softmax2")
    scores = load_classifier(open_artifact(path), settings).classify(reference.texts).probabilities
    np.testing.assert_allclose(scores, reference.scores, atol=1e-6)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("softmax2", "do not sum to 1"),
        ("sigmoid", "not from 0 to 1"),
        ("regression", "not from 0 to 1"),
    ],
)
def test_logits_that_are_called_probabilities_abort(models: Path, head: str, words: str) -> None:
    """The setting is checked by what the graph answers."""
    settings = Settings(threads=1, window_overlap=8, head="probabilities")
    with pytest.raises(StartError, match=words):
        load_classifier(open_artifact(models / head), settings)


def test_probabilities_of_several_labels_are_served(models: Path, tmp_path: Path) -> None:
    """The graph hides its sigmoid, so the user says what its outputs are."""
    edit = add_nodes(("Sigmoid", ["raw"], "soft"), ("Mul", ["soft", "one"], "logits"))
    reference = families.read_reference(models / "sigmoid")
    path = change(models / "sigmoid", tmp_path / "model", edit)
    settings = Settings(threads=1, window_overlap=8, head="probabilities")
    classifier = load_classifier(open_artifact(path), settings)
    assert Head("sigmoid", in_graph=True) == classifier.head
    predictions = classifier.classify(reference.texts)
    np.testing.assert_allclose(predictions.probabilities, reference.scores, atol=1e-6)
    assert predictions.chosen == [
        tuple(name for name, score in zip(classifier.labels, row, strict=True) if score >= 0.5)
        for row in reference.scores
    ]


def test_windows_of_a_graph_with_probabilities_are_averaged_as_they_are(models: Path) -> None:
    """Logits are averaged where there are some, else the scores themselves."""
    text = "good film " * 40
    averaged = load_classifier(open_artifact(models / "probabilities"), SMALL).classify(
        [text], "windows"
    )
    assert 1 == pytest.approx(averaged.probabilities.sum(), abs=1e-6)
    np.testing.assert_array_equal(averaged.logits.astype(np.float64), averaged.probabilities)


# The doors ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def serve(models: Path) -> Callable[[str], Model]:
    loaded: dict[str, Model] = {}

    def node(head: str) -> Model:
        if head not in loaded:
            loaded[head] = Model(model_uri=str(models / head), threads=1, window_overlap=8)
            loaded[head].load()
        return loaded[head]

    return node


def described(node: Model, **options: object) -> dict[str, Any]:
    message = {"jsonData": {"texts": ["a good film"], "options": options}}
    answer: Any = node.predict_raw(message)
    assert "status" not in answer, answer
    found: dict[str, Any] = answer["jsonData"]["predictions"][0]
    return found


@pytest.mark.parametrize("head", families.HEADS)
def test_both_doors_give_the_scores(serve: Callable[[str], Model], models: Path, head: str) -> None:
    """REST and gRPC, each kind of payload: the same numbers as transformers."""
    reference = families.read_reference(models / head)
    node = serve(head)
    data: Any = node.predict_raw({"data": {"ndarray": reference.texts}})
    np.testing.assert_allclose(data["data"]["ndarray"], reference.scores, atol=1e-5)
    labels = list(node.labels)
    assert labels == data["data"]["names"]
    single: Any = node.predict_raw({"strData": reference.texts[0]})
    np.testing.assert_allclose(single["data"]["tensor"]["values"], reference.scores[0], atol=1e-5)
    over_grpc = node.predict_raw(prediction_pb2.SeldonMessage(strData=reference.texts[0]))
    assert isinstance(over_grpc, prediction_pb2.SeldonMessage)
    np.testing.assert_allclose(over_grpc.data.tensor.values, reference.scores[0], atol=1e-5)
    entry = described(node)
    assert entry["label"] == max(entry["scores"], key=entry["scores"].__getitem__)
    assert entry["score"] == entry["scores"][entry["label"]]
    assert 1 == len(described(node, top_k=1)["scores"])


def test_a_multi_label_answer_names_all_its_labels(serve: Callable[[str], Model]) -> None:
    """From 0.5 on, which is where a sigmoid's logit changes its sign."""
    entry = described(serve("sigmoid"))
    assert [name for name in serve("sigmoid").labels if entry["scores"][name] >= 0.5] == (
        entry["labels"]
    )
    logits = described(serve("sigmoid"), output="logits")["scores"]
    assert {name for name, logit in logits.items() if logit >= 0} == set(entry["labels"])
    assert entry["labels"] == described(serve("sigmoid"), output="label")["labels"]


@pytest.mark.parametrize(
    ("head", "output", "words"),
    [
        ("probabilities", "logits", "gives no logits"),
        ("regression", "label", "chooses no label"),
    ],
)
def test_an_output_that_the_model_has_not_is_refused(
    serve: Callable[[str], Model], head: str, output: str, words: str
) -> None:
    """Not a wrong number in place of it."""
    message = {"jsonData": {"texts": ["good"], "options": {"output": output}}}
    answer: Any = serve(head).predict_raw(message)
    assert 400 == answer["status"]["code"]
    assert words in answer["status"]["info"]


@pytest.mark.parametrize(
    ("head", "description", "tag"),
    [
        ("softmax2", "softmax", None),
        ("sigmoid", "sigmoid", "sigmoid"),
        ("regression", "identity", "identity"),
        ("probabilities", "probabilities (softmax in the graph)", None),
    ],
)
def test_metadata_and_tags_name_the_head(
    serve: Callable[[str], Model], head: str, description: str, tag: str | None
) -> None:
    """A client has to know whether scores sum to 1."""
    node = serve(head)
    assert description == node.init_metadata()["custom"]["head"]
    answer: Any = node.predict_raw({"strData": "good"})
    assert tag == answer["meta"]["tags"].get("head")


# The tools ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "columns"),
    [
        ("softmax2", ["label", "score", "probability_negative", "probability_positive"]),
        ("sigmoid", ["label", "score", "labels", *(f"probability_{n}" for n in ("anger", "fear"))]),
        ("regression", ["value_stars"]),
    ],
)
def test_score_writes_the_columns_of_the_head(
    models: Path, tmp_path: Path, head: str, columns: list[str]
) -> None:
    """A rating is a value, not a probability of 1."""
    reference = families.read_reference(models / head)
    (tmp_path / "in.txt").write_text("\n".join(reference.texts) + "\n", encoding="utf-8")
    output = tmp_path / "out.jsonl"
    score(tmp_path / "in.txt", output, open_artifact(models / head), SMALL)
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert columns == list(rows[0])[1 : 1 + len(columns)]
    kinds = [name for name in rows[0] if name.startswith(("probability_", "value_"))]
    written = [[row[name] for name in kinds] for row in rows]
    np.testing.assert_allclose(written, reference.scores, atol=1e-5)


@pytest.mark.parametrize(("head", "shown"), [("regression", "stars"), ("sigmoid", "fear")])
def test_predict_shows_labels_and_values(models: Path, head: str, shown: str) -> None:
    """At the command line, too, no softmax is made up."""
    reference = families.read_reference(models / head)
    text = reference.texts[0]
    result = CliRunner().invoke(app, ["predict", text, "--model", str(models / head)])
    assert 0 == result.exit_code, result.output
    column = {"stars": 0, "fear": 1}[shown]
    assert f"{reference.scores[0, column]:.4f}" in result.output
    assert shown in result.output


@pytest.mark.parametrize("command", ["evaluate", "quantize"])
def test_labels_do_not_judge_values(models: Path, tmp_path: Path, command: str) -> None:
    """One label is always right, so accuracy would be 1 whatever the model says."""
    data = tmp_path / "data.tsv"
    data.write_text("label\ttext\nstars\tgood\n", encoding="utf-8")
    model = str(models / "regression")
    given = {
        "evaluate": [str(data), "--model", model],
        "quantize": [model, str(tmp_path / "int8"), "--evaluation", str(data)],
    }
    result = CliRunner().invoke(app, [command, *given[command]])
    assert "gives values" in str(result.exception)


def test_the_toy_still_has_a_softmax(tmp_path: Path) -> None:
    """The default of every model that was served before."""
    assert Head("softmax") == open_artifact(toy.write(tmp_path / "toy")).head()
