"""Quality figures against published examples and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from ab.stats.quality import (
    brier,
    calibration_error,
    class_f1,
    confusion,
    macro_f1,
    matthews,
    reliability,
)

TRUTHS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=60)


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
    found = matthews(table)
    assert mcc == (None if found is None else round(found, 2))


@settings(deadline=None, max_examples=50)
@pytest.mark.filterwarnings("ignore:A single label was found")
@given(TRUTHS)
def test_figures_of_many_classes_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    """Gorodkin's generalisation and the mean F1 have their traps at empty classes."""
    labels = ["a", "b", "c"]
    truths, predictions = ([labels[pair[i]] for pair in pairs] for i in (0, 1))
    table = confusion(truths, predictions, labels)
    assert metrics.confusion_matrix(truths, predictions, labels=labels).tolist() == table
    expected = metrics.f1_score(truths, predictions, labels=labels, average=None, zero_division=0.0)
    assert expected == pytest.approx(class_f1(table))
    assert expected.mean() == pytest.approx(macro_f1(table))
    found = matthews(table)
    assert metrics.matthews_corrcoef(truths, predictions) == pytest.approx(found or 0.0)


def test_brier_is_his_own_definition() -> None:
    """Brier (1950): summed over classes, so a sure and wrong answer of two classes scores 2."""
    scores = np.array([[1.0, 0.0], [0.7, 0.3], [0.0, 1.0]])
    assert (0 + 2 * 0.3**2 + 2) / 3 == pytest.approx(brier(scores, np.array([0, 0, 0])))
    assert brier(np.zeros((0, 2)), np.zeros(0, int)) is None


def test_calibration_error_of_a_worked_example() -> None:
    """Two of four right at 0.85, one of one at 0.95: 4/5 * 0.35 + 1/5 * 0.05."""
    bins = reliability(
        np.array([0.85, 0.85, 0.85, 0.85, 0.95]), np.array([True, True, False, False, True])
    )
    assert [4, 1] == [each.n for each in bins if each.n]
    assert 0.29 == pytest.approx(calibration_error(bins))
    assert calibration_error(reliability(np.zeros(0), np.zeros(0, bool))) is None


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_every_answer_falls_in_one_bin_that_holds_its_score(scores: list[float]) -> None:
    """Scores of exactly 0, 1 and on an edge are easily lost or counted twice."""
    bins = reliability(np.array(scores), np.ones(len(scores), bool))
    assert len(scores) == sum(each.n for each in bins)
    for each in bins:
        if each.confidence is not None:
            assert each.low - 1e-9 <= each.confidence <= each.high + 1e-9
