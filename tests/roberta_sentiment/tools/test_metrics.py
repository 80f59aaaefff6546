"""The figures of predictions, against published examples, scikit-learn and hand-made sums."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from roberta_sentiment.tools.metrics import compare, flips, quality, reliability

PAIRS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=60)


def test_figures_are_those_worked_out_by_hand() -> None:
    """Five answers, four of them right; each formula is written out."""
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.04, 0.96], [0.41, 0.59]])
    got = quality([0, 0, 1, 1, 0], probabilities)
    assert (5, 0.8) == (got.texts, got.accuracy)
    assert ((2, 1), (0, 2)) == got.confusion
    assert (2 * 2 - 1 * 0) / math.sqrt(3 * 2 * 2 * 3) == pytest.approx(got.mcc)
    assert (2 * 2 / (2 * 2 + 1)) == pytest.approx(got.classes[0].f1)
    assert [(1, 2 / 3, 3), (2 / 3, 1, 2)] == [(c.precision, c.recall, c.texts) for c in got.classes]
    assert (0.8 + 0.8) / 2 == pytest.approx(got.f1_macro)
    assert (0.01 + 0.04 + 0.09 + 0.0016 + 0.59**2) / 5 == pytest.approx(got.brier)
    gaps = [0.1, 0.2, 0.3, 0.04, 0.59]
    assert sum(gaps) / 5 == pytest.approx(got.calibration_error)
    z, n, p = 1.959963984540054, 5, 0.8
    middle, half = p + z**2 / (2 * n), z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    bounds = [(middle + sign * half) / (1 + z**2 / n) for sign in (-1, 1)]
    assert bounds == pytest.approx(got.accuracy_interval)


def test_answers_of_one_bin_are_averaged_before_they_are_judged() -> None:
    """Ten texts with score 0.9, nine of them right, are calibrated; each alone would not be."""
    probabilities = np.tile([0.1, 0.9], (10, 1))
    got = quality([1] * 9 + [0], probabilities)
    assert 0 == pytest.approx(got.calibration_error)
    [full] = [b for b in got.bins if b.texts]
    assert 10 == full.texts
    assert [0.9, 0.9] == pytest.approx([full.score, full.accuracy])
    assert full.low < 0.9 <= full.high


def test_more_than_two_classes() -> None:
    """A published model may be of three; the Brier score then reaches 2."""
    probabilities = np.array([[1.0, 0, 0], [0, 1, 0], [0, 1, 0]])
    got = quality([0, 1, 2], probabilities)
    assert ((1, 0, 0), (0, 1, 0), (0, 1, 0)) == got.confusion
    assert 2 / 3 == pytest.approx(got.brier)
    assert (1 + 2 / 3 + 0) / 3 == pytest.approx(got.f1_macro)


@settings(deadline=None)
@pytest.mark.filterwarnings("ignore:A single label was found")
@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 1), st.floats(0, 1)), min_size=1))
def test_figures_hold_together(rows: list[tuple[int, float, float]]) -> None:
    """Whatever is predicted, even one class alone, with scores on the edge of a bin."""
    truth = [label for label, *_ in rows]
    raw = np.array([[a, b, 1.0] for _, a, b in rows])
    probabilities = raw / raw.sum(axis=1, keepdims=True)
    got = quality(truth, probabilities)
    assert len(rows) == sum(b.texts for b in got.bins) == sum(map(sum, got.confusion))
    assert sum(got.confusion[i][i] for i in range(3)) / len(rows) == pytest.approx(got.accuracy)
    for each in got.bins:
        assert (each.texts == 0) == (each.score is None) == (each.accuracy is None)
        assert each.low - 1e-9 <= (each.score or each.low) <= each.high + 1e-9
    truths = np.eye(3)[truth]
    assert ((probabilities - truths) ** 2).sum(axis=1).mean() == pytest.approx(got.brier)
    expected = metrics.matthews_corrcoef(truth, probabilities.argmax(axis=1))
    assert expected == pytest.approx(0 if got.mcc is None else got.mcc)
    assert -1 <= (got.mcc or 0) <= 1
    assert 0 <= got.calibration_error <= 1
    low, high = got.accuracy_interval
    assert 0 <= low <= got.accuracy + 1e-9
    assert got.accuracy - 1e-9 <= high <= 1
    json.dumps(got.calibration_error + got.f1_macro, allow_nan=False)


def test_two_models_are_compared_by_what_only_one_gets_right() -> None:
    """McNemar's exact test counts a coin's heads: with 1 of 9, 2 * (1 + 9) / 2**9."""
    yes, no = [0.1, 0.9], [0.9, 0.1]
    first = np.array([yes] * 8 + [no] + [yes] * 3 + [no] * 2)
    second = np.array([no] * 8 + [yes] + [yes] * 3 + [no] * 2)
    got = compare([1] * 14, first, second)
    assert (3, 8, 1, 2) == (got.both_right, got.only_first, got.only_second, got.both_wrong)
    assert 2 * (1 + 9) / 2**9 == pytest.approx(got.p_value)
    assert tuple(range(9)) == got.flips
    assert 0.8 == pytest.approx(got.largest_difference)
    assert 1 == compare([1] * 14, first, first).p_value


def test_a_flip_from_wrong_to_wrong_is_a_flip() -> None:
    """With three classes two models may both be wrong and still differ."""
    first, second = np.eye(3)[[0, 1, 2]], np.eye(3)[[0, 2, 2]]
    assert (1,) == flips(first, second) == compare([0, 0, 2], first, second).flips
    assert (2, 0, 0, 1) == tuple(
        getattr(compare([0, 0, 2], first, second), name)
        for name in ("both_right", "only_first", "only_second", "both_wrong")
    )


@pytest.mark.parametrize(
    ("table", "mcc"),
    [([[1, 5], [4, 90]], 0.14), ([[0, 5], [0, 95]], None)],
    ids=["one negative found", "no negative found"],
)
def test_matthews_is_that_of_the_published_examples(
    table: list[list[int]], mcc: float | None
) -> None:
    """Chicco (2017), "Ten quick tips for machine learning in computational biology", BioData
    Mining 10:35, tip 8: 90 true and 5 false positives, 1 true and 4 false negatives; and a
    model that always says positive."""
    pairs = [(t, p) for t in (0, 1) for p in (0, 1) for _ in range(table[t][p])]
    got = quality([t for t, _ in pairs], np.eye(2)[[p for _, p in pairs]])
    assert tuple(map(tuple, table)) == got.confusion
    assert mcc == (None if got.mcc is None else round(got.mcc, 2))


@settings(deadline=None, max_examples=50)
@pytest.mark.filterwarnings("ignore:A single label was found")
@given(PAIRS)
def test_figures_of_many_classes_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    """Gorodkin's generalisation and the mean F1 have their traps at empty classes."""
    truths, predictions = ([pair[i] for pair in pairs] for i in (0, 1))
    got = quality(truths, np.eye(3)[predictions])
    labels = [0, 1, 2]
    table = metrics.confusion_matrix(truths, predictions, labels=labels)
    assert table.tolist() == [list(row) for row in got.confusion]
    expected = metrics.f1_score(truths, predictions, labels=labels, average=None, zero_division=0.0)
    assert expected == pytest.approx([each.f1 for each in got.classes])
    assert expected.mean() == pytest.approx(got.f1_macro)
    assert metrics.matthews_corrcoef(truths, predictions) == pytest.approx(got.mcc or 0.0)


def test_brier_of_two_classes_is_the_squared_error_of_one() -> None:
    """As scikit-learn and most papers give it; Brier's own sum over both is twice that."""
    scores = np.array([[1.0, 0.0], [0.7, 0.3], [0.0, 1.0]])
    assert (0 + 0.3**2 + 1) / 3 == pytest.approx(quality([0, 0, 0], scores).brier)
    three = np.array([[1.0, 0.0, 0.0], [0.7, 0.3, 0.0], [0.0, 1.0, 0.0]])
    assert (0 + 2 * 0.3**2 + 2) / 3 == pytest.approx(quality([0, 0, 0], three).brier)


def test_a_multi_label_model_is_judged_without_a_warning(
    recwarn: pytest.WarningsRecorder,
) -> None:
    """Its probabilities do not sum to 1."""
    got = quality([0, 1], np.array([[0.9, 0.8], [0.2, 0.4]]))
    assert 1 == got.accuracy
    assert (0.1**2 + 0.8**2 + 0.2**2 + 0.6**2) / 4 == pytest.approx(got.brier)
    assert not recwarn.list


def test_the_predicted_labels_may_be_given() -> None:
    """Of equal scores the service named the second."""
    even = np.array([[0.5, 0.5]])
    assert (1.0, 0.0) == (quality([0], even).accuracy, quality([0], even, [1]).accuracy)
    assert 0.5 == quality([0], even, [1]).bins[7].score


def test_calibration_error_of_a_worked_example() -> None:
    """Two of four right at 0.85, one of one at 0.95: 4/5 * 0.35 + 1/5 * 0.05."""
    scores = np.array([0.85, 0.85, 0.85, 0.85, 0.95])
    got = quality([1, 1, 0, 0, 1], np.stack([1 - scores, scores], axis=1))
    assert [4, 1] == [each.texts for each in got.bins if each.texts]
    assert 0.29 == pytest.approx(got.calibration_error)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_every_answer_falls_in_one_bin_that_holds_its_score(scores: list[float]) -> None:
    """Scores of exactly 0, 1 and on an edge are easily lost or counted twice."""
    bins = reliability(np.array(scores), np.ones(len(scores), bool))
    assert len(scores) == sum(each.texts for each in bins)
    for each in bins:
        if each.score is not None:
            assert each.low - 1e-9 <= each.score <= each.high + 1e-9
