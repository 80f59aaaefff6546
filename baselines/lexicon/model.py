"""VADER's compound score as a probability."""

from __future__ import annotations

import dataclasses
import json
import re
import textwrap
from importlib.util import find_spec
from pathlib import Path

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from baselines.words import TextScore, WordClassifier

CALIBRATION = Path(__file__).with_name("calibration.json")
LEXICONS = ("vader_lexicon.txt", "emoji_utf8_lexicon.txt")

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\s*\n\s*")
_LONGEST = 400


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Margin = slope * compound + shift.

    Source: Platt (1999), "Probabilistic outputs for support vector machines", with plain labels.
    """

    slope: float
    shift: float

    @classmethod
    def read(cls, path: Path = CALIBRATION) -> Calibration:
        """Read what `python -m baselines.train` wrote."""
        content = json.loads(path.read_text(encoding="utf-8"))
        return cls(float(content["slope"]), float(content["shift"]))


class LexiconClassifier(WordClassifier):
    """VADER (Hutto and Gilbert, ICWSM 2014), sentence by sentence.

    Args:
        calibration: from compound score to margin.
    """

    def __init__(self, calibration: Calibration) -> None:
        self._analyzer = SentimentIntensityAnalyzer()
        self._calibration = calibration

    def score(self, text: str) -> TextScore:
        """The score of one text."""
        margin = self._calibration.slope * self.compound(text) + self._calibration.shift
        return TextScore(margin, len(text.split()))

    def compound(self, text: str) -> float:
        """Mean of the compound scores of the text's sentences, -1..1."""
        scores = [self._analyzer.polarity_scores(piece)["compound"] for piece in sentences(text)]
        return sum(scores) / len(scores) if scores else 0.0


def sentences(text: str) -> list[str]:
    """The sentences of a text, a long one in pieces of at most 400 characters.

    VADER rates sentences, and its time grows with the square of their length.
    """
    return [
        piece
        for sentence in _SENTENCE_END.split(text)
        for piece in textwrap.wrap(sentence, _LONGEST, break_on_hyphens=False)
    ]


def files() -> list[Path]:
    """VADER's two lexicons and the calibration."""
    spec = find_spec("vaderSentiment")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0])
    return [*(folder / name for name in LEXICONS), CALIBRATION]
