"""TF-IDF and logistic regression, as scikit-learn trained them, in plain Python and numpy."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections import Counter
from pathlib import Path

import numpy as np

from baselines.words import TextScore, WordClassifier

WEIGHTS = Path(__file__).with_name("model.npz")

_WORD = re.compile(r"n't|'[a-z]+|[a-z0-9]+?(?=n't)|[a-z0-9]+|[!?]")


@dataclasses.dataclass(frozen=True)
class Weights:
    """What was learned.

    Attributes:
        terms: word or pair of words to (idf, coefficient).
        intercept: of the regression.
    """

    terms: dict[str, tuple[float, float]]
    intercept: float

    @classmethod
    def read(cls, path: Path = WEIGHTS) -> Weights:
        """Read an .npz without pickle: `terms` (UTF-8, a line each), `idf`, `coef`, `intercept`."""
        with np.load(path, allow_pickle=False) as arrays:
            names = arrays["terms"].tobytes().decode("utf-8").split("\n")
            pairs = zip(arrays["idf"].tolist(), arrays["coef"].tolist(), strict=True)
            return cls(dict(zip(names, pairs, strict=True)), float(arrays["intercept"]))

    def write(self, path: Path = WEIGHTS) -> None:
        """The inverse of `read`; idf and coefficients are rounded to float32."""
        idf, coef = np.array(list(self.terms.values()), np.float32).T
        names = np.frombuffer("\n".join(self.terms).encode("utf-8"), np.uint8)
        np.savez_compressed(
            path, terms=names, idf=idf, coef=coef, intercept=np.float64(self.intercept)
        )


class LinearClassifier(WordClassifier):
    """Logistic regression over TF-IDF with sublinear counts and Euclidean norm.

    Args:
        weights: what was learned.
    """

    def __init__(self, weights: Weights) -> None:
        self._weights = weights

    def score(self, text: str) -> TextScore:
        """The score of one text; a text without any known term gets the intercept."""
        found = words(text)
        dot = square = 0.0
        for term, count in Counter(terms(found)).items():
            known = self._weights.terms.get(term)
            if known is not None:
                value = (1 + math.log(count)) * known[0]
                dot += value * known[1]
                square += value * value
        margin = self._weights.intercept + (dot / math.sqrt(square) if square else 0.0)
        return TextScore(margin, len(found))


def words(text: str) -> list[str]:
    """Lower-case words, `!` and `?`; `don't` and the treebank's `do n't` give the same two."""
    return _WORD.findall(text.lower().replace("\u2019", "'"))


def terms(found: list[str]) -> list[str]:
    """The words and the pairs of neighbours."""
    return [*found, *(f"{a} {b}" for a, b in itertools.pairwise(found))]
