"""The Seldon node: VADER's lexicon."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from baselines.lexicon.model import Calibration, LexiconClassifier, files
from baselines.node import BaselineNode


class Lexicon(BaselineNode):
    """A lexicon of rated words with rules; it has learned two numbers."""

    NAME = "vader-lexicon"
    PRECISION = "fp64"
    LICENCE = "MIT"
    ORIGIN = "vaderSentiment 3.3.2 (Hutto and Gilbert, ICWSM 2014), calibrated by baselines/train"

    def files(self) -> Sequence[Path]:
        """VADER's lexicons and the calibration."""
        return files()

    def read(self) -> LexiconClassifier:
        """Read lexicons and calibration."""
        return LexiconClassifier(Calibration.read())
