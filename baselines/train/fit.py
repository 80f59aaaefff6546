"""Fits the two models with scikit-learn, and measures them on SST-2 dev."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, matthews_corrcoef

from baselines.lexicon.model import Calibration, LexiconClassifier
from baselines.linear.model import Weights, terms, words
from baselines.words import WordClassifier
from lab.training.corpus import Text

FEATURES = 20_000
"""Terms kept, the most frequent."""
LEAST = 3
"""Texts in which a term must occur."""
C = 4.0
"""Inverse strength of the L2 penalty; fixed in advance, not tuned."""


def fit_lexicon(texts: Sequence[Text]) -> Calibration:
    """Logistic regression of the label on VADER's compound score, practically unpenalised."""
    plain = LexiconClassifier(Calibration(1.0, 0.0))
    compounds = np.array([[plain.compound(text.text)] for text in texts])
    model = LogisticRegression(C=1e6).fit(compounds, [text.label for text in texts])
    return Calibration(round(float(model.coef_[0, 0]), 4), round(float(model.intercept_[0]), 4))


def fit_linear(texts: Sequence[Text]) -> Weights:
    """TF-IDF over words and pairs, then logistic regression."""
    vectorizer = vectorizer_of()
    features = vectorizer.fit_transform(text.text for text in texts)
    model = LogisticRegression(C=C, max_iter=1000).fit(features, [text.label for text in texts])
    values = zip(vectorizer.idf_, model.coef_[0], strict=True)
    learned = dict(zip(vectorizer.get_feature_names_out(), values, strict=True))
    return Weights(
        {str(term): (float(idf), float(coef)) for term, (idf, coef) in learned.items()},
        float(model.intercept_[0]),
    )


def vectorizer_of() -> TfidfVectorizer:
    """The vectorizer; its analyzer is the one that serves."""
    return TfidfVectorizer(
        analyzer=lambda text: terms(words(text)),
        sublinear_tf=True,
        min_df=LEAST,
        max_features=FEATURES,
    )


def figures(classifier: WordClassifier, texts: Sequence[Text]) -> dict[str, float]:
    """Accuracy, Matthews correlation and log loss (nats)."""
    predictions = classifier.classify([text.text for text in texts])
    truths = [text.label for text in texts]
    found = predictions.logits.argmax(axis=1)
    return {
        "accuracy": round(float(accuracy_score(truths, found)), 4),
        "mcc": round(float(matthews_corrcoef(truths, found)), 4),
        "log_loss": round(float(log_loss(truths, predictions.probabilities[:, 1])), 4),
    }
