"""Calibration error for each file, and what chance alone would give.

    python -m lab.training.calibration_floor models/default build/default/reviews.tsv ...

Chance: labels drawn from the scores themselves, as if the model were perfectly calibrated.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.special import softmax

from lab.training.calibrate import Floats, calibration_error
from lab.training.corpus import read_tsv
from roberta_sentiment.classifier import load_classifier
from roberta_sentiment.model.artifact import open_artifact
from roberta_sentiment.settings import Settings

DRAWS = 4_000
BATCH = 16


def chance_errors(logits: Floats, draws: int, seed: int = 0) -> Floats:
    """Calibration errors, float64 [draws], of (texts, 2) logits of a perfectly calibrated model."""
    draw = np.random.default_rng(seed)
    positive = softmax(logits, axis=1)[:, 1]
    labels = draw.random((draws, len(logits))) < positive
    return np.array([calibration_error(logits, row.astype(np.int64)) for row in labels])


def main() -> None:
    """Print a line for each file of `label<TAB>text`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    options = parser.parse_args()
    classifier = load_classifier(open_artifact(options.model), Settings())
    for path in options.files:
        rows = read_tsv(path)
        labels = np.array([row.label for row in rows])
        groups = [rows[at : at + BATCH] for at in range(0, len(rows), BATCH)]
        found = [classifier.classify([row.text for row in group]).logits for group in groups]
        logits = np.concatenate(found).astype(np.float64)
        chance = chance_errors(logits, DRAWS)
        print(
            f"{path.name}: {len(rows)} texts, error {calibration_error(logits, labels):.4f}; by "
            f"chance {chance.mean():.4f}, at most 0.02 in {100 * (chance <= 0.02).mean():.0f} % of "
            "draws"
        )


if __name__ == "__main__":
    main()
