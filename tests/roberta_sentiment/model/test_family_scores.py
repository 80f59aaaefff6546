"""Ten families of models, each with every head: the scores that transformers gives."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from roberta_sentiment.classifier import check_model, load_classifier
from roberta_sentiment.errors import ArtifactError, StartError
from roberta_sentiment.model import families as rules
from roberta_sentiment.model.artifact import open_artifact
from roberta_sentiment.model.derived import default_roots
from roberta_sentiment.model.optimize import optimize
from roberta_sentiment.settings import Settings
from tests import families

SMALL = Settings(threads=1, window_overlap=8)
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.unpack(tmp_path_factory.mktemp("families"))


@pytest.fixture
def edited(models: Path, tmp_path: Path) -> Callable[..., Path]:
    """Copies a model and changes its configuration; None takes a key out."""

    def copy(name: str, /, **changes: Any) -> Path:
        target = tmp_path / name.replace("/", "-")
        shutil.copytree(models / name, target)
        config = json.loads((target / "config.json").read_text(encoding="utf-8")) | changes
        kept = {key: value for key, value in config.items() if value is not None}
        (target / "config.json").write_text(json.dumps(kept), encoding="utf-8")
        return target

    return copy


@pytest.mark.parametrize("head", families.HEADS)
@pytest.mark.parametrize("family", families.FAMILIES)
def test_scores_are_those_of_transformers(models: Path, family: str, head: str) -> None:
    """From three tokens to 8,000 words, alone and in a batch: a comparison of two models needs both
    of them right.
    """
    reference = families.read_reference(models / family / head)
    classifier = load_classifier(open_artifact(models / family / head), SMALL)
    texts = classifier.tokenizer.encode(reference.texts, "end")
    assert reference.ids == [text.windows[0] for text in texts]
    assert reference.tokens == [text.tokens for text in texts]
    together = classifier.classify(reference.texts)
    alone = np.concatenate([classifier.classify([t]).probabilities for t in reference.texts])
    np.testing.assert_allclose(together.probabilities, reference.scores, atol=TOLERANCE)
    np.testing.assert_allclose(alone, reference.scores, atol=TOLERANCE)
    if head != "probabilities":
        np.testing.assert_allclose(together.logits, reference.logits, atol=TOLERANCE)
    assert together.work.batches < len(reference.texts), "nothing shared a run"


@pytest.mark.parametrize(
    ("name", "changes", "limit"),
    [
        pytest.param("bert/softmax2", {"model_type": None}, 40, id="by architecture"),
        pytest.param("bert/softmax2", {"model_type": "new"}, 40, id="unknown, from 0"),
        pytest.param("roberta/softmax2", {"model_type": "new"}, 40, id="unknown, after padding"),
        pytest.param("bert/softmax2", {"max_position_embeddings": 99}, 40, id="table is smaller"),
        pytest.param("bert/softmax2", {"max_position_embeddings": 30}, 30, id="config is smaller"),
        pytest.param("mpnet/softmax2", {"pad_token_id": 0}, 40, id="mpnet knows its padding"),
    ],
)
def test_limits_that_config_does_not_state(
    edited: Callable[..., Path], name: str, changes: dict[str, Any], limit: int
) -> None:
    """A token too few is lost without a word, one too many is an error at the first long text."""
    if name.startswith("bert"):
        changes = {"architectures": ["BertForSequenceClassification"], **changes}
    classifier = load_classifier(open_artifact(edited(name, **changes)), SMALL)
    assert limit == classifier.tokenizer.limit
    assert limit == classifier.classify(["good " * 100]).work.tokens


def test_an_unknown_limit_has_to_be_set(edited: Callable[..., Path]) -> None:
    """Relative positions of an unknown family: only who trained it knows."""
    path = edited("deberta-v2/softmax2", model_type="new")
    with pytest.raises(ArtifactError, match="set the parameter max_tokens"):
        load_classifier(open_artifact(path), SMALL)
    settings = Settings(threads=1, window_overlap=8, max_tokens=24)
    assert 24 == load_classifier(open_artifact(path), settings).tokenizer.limit


@pytest.mark.parametrize(
    ("said", "limit"),
    [
        pytest.param(10**30, 40, id="none"),
        pytest.param(24, 24, id="lower"),
        pytest.param(500, 40, id="higher"),
        pytest.param(0, 40, id="nonsense"),
        pytest.param("x", 40, id="no number"),
    ],
)
def test_the_tokenizer_lowers_a_limit_and_never_raises_it(
    models: Path, tmp_path: Path, said: object, limit: int
) -> None:
    """Its maker knows what the model was trained on, but no table grows by it."""
    path = shutil.copytree(models / "bert" / "softmax2", tmp_path / "model")
    (path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": said}))
    assert limit == open_artifact(path).position_limit


def test_a_truncation_saved_in_the_tokenizer_is_not_ours(models: Path, tmp_path: Path) -> None:
    """Its maker cut at 5 tokens once and padded to 30; texts are read whole here."""
    path = shutil.copytree(models / "bert" / "softmax2", tmp_path / "model")
    tokenizer = json.loads((path / "tokenizer.json").read_text(encoding="utf-8"))
    padding = {"strategy": {"Fixed": 30}, "direction": "Left", "pad_to_multiple_of": None}
    tokenizer["padding"] = padding | {"pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}
    tokenizer["truncation"] = {
        "direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0,
    }  # fmt: skip
    (path / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    reference = families.read_reference(path)
    predictions = load_classifier(open_artifact(path), SMALL).classify(reference.texts)
    assert reference.tokens == predictions.tokens
    np.testing.assert_allclose(predictions.logits, reference.logits, atol=TOLERANCE)


@pytest.mark.parametrize("limit", [-3, 2])
def test_a_limit_without_room_for_a_text_aborts(edited: Callable[..., Path], limit: int) -> None:
    """ "It takes -42092 tokens" was once said of a model; it must not start."""
    with pytest.raises(StartError, match="max_position_embeddings"):
        load_classifier(
            open_artifact(edited("bert/softmax2", max_position_embeddings=limit)), SMALL
        )


def ask_for_positions(path: Path) -> Path:
    """Make the graph of a model directory take its positions as an input, as some exports do."""
    model = onnx.load(path / "model.onnx")
    positions = onnx.ValueInfoProto()
    positions.CopyFrom(model.graph.input[0])
    positions.name = "position_ids"
    model.graph.input.append(positions)
    changed = 0
    for node in model.graph.node:
        if node.op_type == "Gather" and "position_embeddings" in node.input[0]:
            node.input[1] = positions.name
            changed += 1
    assert 1 == changed
    onnx.save(model, path / "model.onnx")
    return path


@pytest.mark.parametrize("family", ["roberta", "bert", "mpnet", "albert", "camembert"])
def test_positions_are_numbered_as_the_family_does(
    edited: Callable[..., Path], family: str
) -> None:
    """A graph that asks for position_ids gets those that transformers would make."""
    path = ask_for_positions(edited(f"{family}/softmax3"))
    reference = families.read_reference(path)
    classifier = load_classifier(open_artifact(path), SMALL)
    together = classifier.classify(reference.texts)
    np.testing.assert_allclose(together.logits, reference.logits, atol=TOLERANCE)
    assert together.work.batches < len(reference.texts)


def test_an_optimised_graph_gets_its_positions(edited: Callable[..., Path]) -> None:
    """Whether or not the input is still there."""
    artifact = open_artifact(ask_for_positions(edited("mpnet/softmax3")))
    optimize(artifact, default_roots())
    reference = families.read_reference(artifact.path)
    settings = Settings(threads=2, window_overlap=8)
    logits = load_classifier(artifact, settings).classify(reference.texts).logits
    np.testing.assert_allclose(logits, reference.logits, atol=TOLERANCE)


def test_positions_of_an_unknown_family_abort(edited: Callable[..., Path]) -> None:
    """Counted from 0 or from 2, both run, and one of them is wrong."""
    artifact = open_artifact(ask_for_positions(edited("bert/softmax3", model_type="new")))
    with pytest.raises(ArtifactError, match=r"asks for position_ids.*'new'.*export it without"):
        check_model(artifact, SMALL)


def test_every_published_family_has_a_rule() -> None:
    """The table in docs/models.md is about these."""
    assert all(rules.is_known({"model_type": family}) for family in families.FAMILIES)
