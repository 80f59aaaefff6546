"""A model is served at once, and from its optimised file as soon as that is there."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from roberta_sentiment.classifier import Classifier, load_classifier
from roberta_sentiment.model import background
from roberta_sentiment.model.artifact import DEFAULT_MODEL, Artifact, open_artifact
from roberta_sentiment.model.background import make_in_background
from roberta_sentiment.settings import Settings
from roberta_sentiment.trial import Trial
from tests import zoo

pytestmark = pytest.mark.usefixtures("own_tmp")


def wait_for_preparation() -> None:
    """Until no thread prepares a file any more."""
    for thread in threading.enumerate():
        if thread.name == "prepare":
            thread.join(120)


@pytest.mark.parametrize("model", ["default", "zoo"])
def test_the_same_answers_come_from_the_optimised_file(tmp_path: Path, model: str) -> None:
    """Requests go on while it is made and while the sessions change."""
    path = DEFAULT_MODEL if model == "default" else zoo.write(tmp_path / "model")
    classifier = load_classifier(open_artifact(path), Settings(threads=2))
    rows = [[0, *range(5, 5 + length), 2] for length in (1, 3, 9, 9, 30, 12)]
    before = classifier.classify_ids(rows).logits
    assert "optimized" != classifier.kind
    classifier.prepare_in_background()
    answers = []
    while classifier.kind != "optimized" and threading.active_count() > 1:
        answers.append(classifier.classify_ids(rows).logits)
        if not any(thread.name == "prepare" for thread in threading.enumerate()):
            break
    wait_for_preparation()
    assert "optimized" == classifier.kind
    for logits in (*answers, classifier.classify_ids(rows).logits):
        np.testing.assert_allclose(before, logits, atol=1e-3)
    classifier.close()


def test_an_optimised_model_is_left_unchanged(toy_path: Path) -> None:
    """A restarted server has nothing to do."""
    assert make_in_background(open_artifact(toy_path)) is not None
    classifier = load_classifier(open_artifact(toy_path), Settings(threads=1, window_overlap=8))
    classifier.prepare_in_background()
    assert "prepare" not in [thread.name for thread in threading.enumerate()]


def serving(path: Path) -> Classifier:
    """A classifier that has tried to get an optimised file."""
    classifier = load_classifier(open_artifact(path), Settings(threads=1, window_overlap=8))
    classifier.prepare_in_background()
    wait_for_preparation()
    return classifier


def test_it_can_be_switched_off(
    own_tmp: Path, toy_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the variable that switches off the file of the start, too."""
    monkeypatch.setenv(background.SECONDS, "0")
    assert "original" == serving(toy_path).kind
    assert [] == list(own_tmp.iterdir())


def test_a_place_that_can_not_be_written_is_no_failure(
    own_tmp: Path, toy_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The original is served on, and the log says why."""
    (own_tmp / f"roberta-sentiment-{os.getuid()}").write_text("in the way")
    classifier = serving(toy_path)
    assert "original" == classifier.kind
    assert ["positive"] == classifier.classify(["good"]).best
    assert "no optimised file can be made" in caplog.text


def test_a_command_that_fails_is_logged_with_its_reason(
    toy_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its sentence would be lost with the process."""
    monkeypatch.setattr(background, "_COMMAND", "roberta_sentiment.model.nothing")
    assert "original" == serving(toy_path).kind
    assert "no optimised file was made" in caplog.text


def test_a_command_that_hangs_is_ended(
    toy_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It would hold the lock forever."""
    monkeypatch.setattr(background, "_LONGEST_S", 0.01)
    assert "original" == serving(toy_path).kind
    assert "timed out" in caplog.text


def test_a_file_that_answers_otherwise_in_batches_is_not_used(
    toy_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Answers would begin to depend on other requests."""
    classifier = load_classifier(open_artifact(toy_path), Settings(threads=1, window_overlap=8))
    monkeypatch.setattr(
        "roberta_sentiment.classifier.try_out", lambda *_: Trial(True, 1.0, False, False)
    )
    classifier.prepare_in_background()
    wait_for_preparation()
    assert "original" == classifier.kind
    assert "is not used" in caplog.text


def test_processes_that_start_together_make_one_file(
    toy_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at once would need the memory twice."""
    made, make = [], background._make

    def counted(artifact: Artifact) -> bool:
        made.append(artifact)
        return make(artifact)

    monkeypatch.setattr(background, "_make", counted)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(make_in_background, [open_artifact(toy_path)] * 2))
    assert all(found)
    assert 1 == len(made)
