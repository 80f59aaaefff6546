"""The shipped model at its shipped precision: the other texts in a batch change nothing."""

from __future__ import annotations

import random

import numpy as np
import numpy.typing as npt
import pytest

from roberta_sentiment.classifier import Classifier
from roberta_sentiment.tools.labelled import read_texts
from tests import ROOT

DEV = ROOT.parent / "shared" / "data" / "sst2_dev.tsv"
SHUFFLES = 3


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """SST-2 dev."""
    if not DEV.exists():
        pytest.skip("the data sets are not in this checkout; see lab/training/README.md")
    return read_texts(DEV)


@pytest.fixture(scope="module")
def alone(default_classifier: Classifier, texts: list[str]) -> npt.NDArray[np.float64]:
    """Probabilities of each text in a request of its own, (872, 2)."""
    return np.concatenate([default_classifier.classify([text]).probabilities for text in texts])


@pytest.mark.parametrize("size", [8, 64])
def test_a_text_answers_alike_in_any_company(
    default_classifier: Classifier, texts: list[str], alone: npt.NDArray[np.float64], size: int
) -> None:
    """Scales taken from a whole batch would move answers by up to 0.4 logits and flip labels."""
    draw = random.Random(size)
    for _ in range(SHUFFLES):
        order = draw.sample(range(len(texts)), len(texts))
        for start in range(0, len(order), size):
            batch = order[start : start + size]
            got = default_classifier.classify([texts[i] for i in batch]).probabilities
            np.testing.assert_allclose(alone[batch], got, atol=0.005)
            assert (alone[batch].argmax(axis=1) == got.argmax(axis=1)).all()
