"""The two models: what they learned is served as it was learned."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from baselines.lexicon.model import Calibration, LexiconClassifier, sentences
from baselines.linear.model import WEIGHTS, LinearClassifier, Weights, terms, words
from baselines.train import fit
from lab.training.corpus import Text, read_tsv
from tests import ROOT

OWN = read_tsv(ROOT / "rehearsal" / "reviews.tsv")
DEV = ROOT.parent / "shared" / "data" / "sst2_dev.tsv"


def test_plain_python_gives_what_scikit_learn_gives(tmp_path: Path) -> None:
    """The served formula is that of TfidfVectorizer and LogisticRegression, on unseen texts."""
    unseen = [text.text for text in OWN[::3]]
    seen = [text for i, text in enumerate(OWN) if i % 3]
    weights = fit.fit_linear(seen)
    weights.write(tmp_path / "model.npz")
    vectorizer = fit.vectorizer_of()
    features = vectorizer.fit_transform(text.text for text in seen)
    model = LogisticRegression(C=fit.C, max_iter=1000).fit(features, [t.label for t in seen])
    expected = model.predict_proba(vectorizer.transform(unseen))
    served = LinearClassifier(Weights.read(tmp_path / "model.npz")).classify(unseen)
    np.testing.assert_allclose(served.probabilities, expected, atol=1e-5)


def test_the_weights_need_no_pickle() -> None:
    """A file that can run code when it is read must never be served."""
    with zipfile.ZipFile(WEIGHTS) as archive:
        assert {"terms.npy", "idf.npy", "coef.npy", "intercept.npy"} == set(archive.namelist())
    with np.load(WEIGHTS, allow_pickle=False) as arrays:
        assert all(arrays[name].dtype.kind in "uf" for name in arrays.files)


@pytest.mark.parametrize(
    ("written", "treebank"),
    [
        ("I don't like it.", "i do n't like it ."),
        ("It isn\u2019t bad!", "it is n't bad !"),
        ("The film's charm", "the film 's charm"),
        ("Can't they?", "ca n't they ?"),
    ],
)
def test_written_and_treebank_forms_are_the_same_words(written: str, treebank: str) -> None:
    """Trained on one form and asked in the other, a model would miss every negation."""
    assert words(treebank) == words(written)


def test_pairs_are_neighbours() -> None:
    """The order of words is in the pairs only."""
    assert ["not", "bad", "!", "not bad", "bad !"] == terms(words("Not bad!"))


def test_a_text_without_known_words_gets_the_intercept() -> None:
    """Division by a norm of zero must not reach a caller."""
    weights = Weights({"good": (1.0, 2.0)}, 0.25)
    assert 0.25 == LinearClassifier(weights).score("\u4f60\u597d").margin
    assert 2.25 == LinearClassifier(weights).score("good").margin


def test_one_sentence_is_vader_s_own_score() -> None:
    """Only texts of several sentences are treated otherwise than by VADER itself."""
    plain, vader = LexiconClassifier(Calibration(1.0, 0.0)), SentimentIntensityAnalyzer()
    text = "Not a comfortable film, but a necessary one, and superbly acted"
    assert vader.polarity_scores(text)["compound"] == plain.compound(text)
    both = f"{text}. The plot is terrible."
    parts = [
        vader.polarity_scores(part)["compound"] for part in (f"{text}.", "The plot is terrible.")
    ]
    assert sum(parts) / 2 == plain.compound(both)


@given(st.text(max_size=2000))
def test_no_piece_is_long_and_no_word_is_lost(text: str) -> None:
    """VADER's time grows with the square of a piece's length; a long text must stay cheap."""
    pieces = sentences(text)
    assert all(0 < len(piece) <= 400 for piece in pieces)
    assert "".join(text.split()) == "".join("".join(pieces).split())


@given(st.text(max_size=300))
def test_every_text_gets_probabilities(text: str) -> None:
    """Emoji, control characters and empty words must not end in a 500."""
    for classifier in (LexiconClassifier(Calibration.read()), LinearClassifier(SERVED)):
        row = classifier.classify([text]).probabilities[0]
        assert np.isfinite(row).all()
        assert pytest.approx(1.0) == row.sum()


SERVED = Weights.read()


def test_a_constant_lexicon_is_calibrated_to_the_base_rate() -> None:
    """Platt scaling: for a score without information, the probability is the share of positives."""
    texts = [Text(1, "film"), Text(1, "film"), Text(1, "film"), Text(0, "film")]
    calibration = fit.fit_lexicon(texts)
    assert pytest.approx(np.log(3), abs=1e-3) == calibration.shift


@pytest.mark.skipif(not DEV.exists(), reason="SST-2 dev is not in ../shared/data")
def test_the_committed_models_have_the_stated_figures() -> None:
    """The table of baselines/README.md and results.json speak of these very files."""
    results = json.loads((ROOT / "baselines" / "results.json").read_text(encoding="utf-8"))
    readme = (ROOT / "baselines" / "README.md").read_text(encoding="utf-8")
    dev = read_tsv(DEV)
    found = {
        "lexicon": fit.figures(LexiconClassifier(Calibration.read()), dev),
        "linear": fit.figures(LinearClassifier(SERVED), dev),
    }
    assert results["sst2_dev"] == found
    for figures in found.values():
        assert ", ".join(f"{value:.4f}" for value in figures.values()) in readme
