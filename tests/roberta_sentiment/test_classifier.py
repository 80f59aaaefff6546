"""From texts to scores: right numbers, in order, the same alone and in a batch."""

from __future__ import annotations

import dataclasses
import gc
import json
import weakref
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roberta_sentiment.classifier import Classifier, load_classifier, softmax
from roberta_sentiment.errors import GraphError, NotReadyError, OverloadedError, TokenIdError
from roberta_sentiment.model.artifact import Artifact, open_artifact
from roberta_sentiment.settings import Settings
from tests import toy

sentences = st.lists(st.sampled_from(toy.WORDS), min_size=1, max_size=60).map(" ".join)


def test_a_full_queue_refuses_before_anything_is_tokenized(
    toy_classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under overload most requests are refused, and each must cost next to nothing."""
    scheduler = Mock(refuse_overload=Mock(side_effect=OverloadedError("full", 1)))
    tokenizer = Mock()
    monkeypatch.setattr(toy_classifier, "tokenizer", tokenizer)
    monkeypatch.setattr(toy_classifier, "_scheduler", scheduler)
    with pytest.raises(OverloadedError):
        toy_classifier.classify(["good"])
    with pytest.raises(OverloadedError):
        toy_classifier.classify_ids([[0, 2]])
    assert [] == tokenizer.mock_calls
    scheduler.run.assert_not_called()


def test_scores_are_those_of_the_words(toy_classifier: Classifier) -> None:
    """The whole way gives what can be counted by hand."""
    predictions = toy_classifier.classify(["good good film", "bad film", "the film"])
    np.testing.assert_array_equal([[0, 2], [1, 0], [0, 0]], predictions.logits)
    assert ["positive", "negative", "negative"] == predictions.best
    assert [5, 4, 4] == predictions.tokens
    assert [] == predictions.truncated
    np.testing.assert_allclose(
        [1 / (1 + np.exp(2)), 1 / (1 + np.exp(-2))], predictions.probabilities[0], rtol=1e-15
    )


@settings(deadline=None)
@given(st.lists(sentences, min_size=1, max_size=20))
@pytest.mark.parametrize("mask", [True, False], ids=["mask", "no mask"])
def test_a_batch_answers_as_each_text_alone(
    tmp_path_factory: pytest.TempPathFactory, mask: bool, texts: list[str]
) -> None:
    """Other texts in the request must not change an answer, with or without a mask."""
    classifier = _cached(tmp_path_factory, mask)
    together = classifier.classify(texts)
    alone = [classifier.classify([text]).logits[0] for text in texts]
    np.testing.assert_array_equal(alone, together.logits)


_classifiers: dict[bool, Classifier] = {}


def _cached(factory: pytest.TempPathFactory, mask: bool) -> Classifier:
    if mask not in _classifiers:
        path = toy.write(factory.mktemp("toy"), mask=mask)
        _classifiers[mask] = load_classifier(
            open_artifact(path), Settings(threads=1, window_overlap=8, batch_tokens=64)
        )
    return _classifiers[mask]


def test_windows_are_averaged(toy_classifier: Classifier) -> None:
    """A long text is the mean of its windows, and short neighbours are not touched by it."""
    long = " ".join(["good"] * 30 + ["film"] * 22)
    predictions = toy_classifier.classify(["bad", long], "windows")
    np.testing.assert_array_equal(np.array([[1, 0], [0, (30 + 8) / 2]]), predictions.logits)
    assert [3, 54] == predictions.tokens
    assert [] == predictions.truncated


def test_truncated_texts_are_named(toy_classifier: Classifier) -> None:
    """A caller with long texts must see which of them were cut."""
    long = " ".join(["film"] * 40)
    assert [1] == toy_classifier.classify(["good", long, "bad"]).truncated


def test_ids_answer_as_their_text(toy_classifier: Classifier) -> None:
    """The published model is called with ids; trailing padding means nothing."""
    vocab = toy.vocabulary()
    row = [0, vocab["good"], vocab["Ġfilm"], 2]
    by_ids = toy_classifier.classify_ids([row, [*row, 1, 1]])
    by_text = toy_classifier.classify(["good film"])
    np.testing.assert_array_equal(by_text.logits[[0, 0]], by_ids.logits)


@pytest.mark.parametrize("before", [0, 1, 5])
@pytest.mark.parametrize("after", [0, 3])
def test_padding_on_either_side_changes_nothing(
    default_classifier: Classifier, before: int, after: int
) -> None:
    """Batches for generation are padded on the left; positions count from the first token."""
    (window,) = default_classifier.tokenizer.encode(["A dull script."], "end")[0].windows
    pad = [default_classifier.artifact.pad_id]
    padded = [*pad * before, *window, *pad * after]
    np.testing.assert_array_equal(
        default_classifier.classify_ids([window]).logits,
        default_classifier.classify_ids([padded]).logits,
    )


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        pytest.param([[0, 2], [0, -1]], "row 1, column 1: -1 is not a token id", id="negative"),
        pytest.param([[0, 10**30]], "row 0, column 1: 1000", id="beyond the vocabulary"),
        pytest.param([[1, 1]], "row 0 is empty or holds nothing but padding", id="only padding"),
        pytest.param([[]], "row 0 is empty", id="empty"),
        pytest.param([[0, *[3] * 31, 2]], "row 0 has 33 tokens, the limit is 32", id="long"),
    ],
)
def test_wrong_ids_are_refused(
    toy_classifier: Classifier, rows: list[list[int]], words: str
) -> None:
    """ONNX Runtime would wrap negative ids silently, and fail the whole batch on others."""
    with pytest.raises(TokenIdError) as caught:
        toy_classifier.classify_ids(rows)
    assert words in str(caught.value)


def test_work_counts_padding(toy_classifier: Classifier) -> None:
    """Padding waste is a metric; it must add up with the tokens."""
    work = toy_classifier.classify(["good", "good film film"]).work
    assert (1, 8, 2) == (work.batches, work.tokens, work.padding)


def test_labels_must_fit_the_output(tmp_path: Path) -> None:
    """Three names for two scores would shift a name to a wrong score."""
    directory = toy.write(tmp_path / "model")
    config = json.loads((directory / "config.json").read_text())
    config["id2label"]["2"] = "neutral"
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(GraphError, match=r"2 scores, but config.json names 3 labels"):
        load_classifier(open_artifact(directory), Settings(window_overlap=8))


def test_softmax_is_exact_and_stable() -> None:
    """Logits of 1000 must not overflow, and every row sums to 1."""
    logits = np.array([[1000, 0], [-3, -3]], dtype=np.float32)
    np.testing.assert_allclose(np.array([[1, 0], [0.5, 0.5]]), softmax(logits), atol=1e-300)


def test_the_embedded_model_knows_good_from_bad(default_classifier: Classifier) -> None:
    """What a newcomer tries first."""
    predictions = default_classifier.classify(
        [
            "This film is so good",
            "This film is so bad",
            "This film is had bad graphics but overall it is good",
        ]
    )
    assert ["positive", "negative", "positive"] == predictions.best
    assert (predictions.probabilities.max(axis=1)[:2] > 0.9).all()


def test_the_embedded_model_does_not_depend_on_batch_mates(
    default_classifier: Classifier, reviews: list[str]
) -> None:
    """The promise that users rely on, at the precision that is shipped."""
    together = default_classifier.classify(reviews).probabilities
    alone = np.concatenate([default_classifier.classify([r]).probabilities for r in reviews])
    np.testing.assert_allclose(alone, together, atol=1e-3)


def test_a_dynamic_int8_model_runs_one_text_at_a_time(toy_artifact: Artifact) -> None:
    """Its scales come from the whole batch, so the other texts would change the answer."""
    dynamic = dataclasses.replace(toy_artifact, manifest={"batch_invariant": False})
    classifier = load_classifier(dynamic, Settings(window_overlap=8))
    assert 3 == classifier.classify(["good", "bad", "film"]).work.batches


@pytest.mark.parametrize(
    ("precision", "exact", "logged"),
    [("int8", False, True), ("int8", True, False), ("fp32", False, False)],
)
def test_weights_that_are_shifted_are_logged(
    toy_artifact: Artifact,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    precision: str,
    exact: bool,
    logged: bool,
) -> None:
    """Without VNNI an int8 model is slower, and the log says why."""
    caplog.set_level("INFO")
    monkeypatch.setattr("roberta_sentiment.classifier.has_exact_int8_dot", lambda: exact)
    artifact = dataclasses.replace(toy_artifact, manifest={"precision": precision})
    load_classifier(artifact, Settings(window_overlap=8))
    assert logged == ("has no VNNI" in caplog.text)


def test_a_closed_classifier_leaves_memory(toy_artifact: Artifact) -> None:
    """A server that unloads one model to load the next must not hold both forever."""
    classifier = load_classifier(toy_artifact, Settings(threads=2))
    left = weakref.ref(classifier._scheduler)
    classifier.classify(["good"])
    classifier.close()
    with pytest.raises(NotReadyError):
        classifier.classify(["good"])
    del classifier
    gc.collect()
    assert left() is None
