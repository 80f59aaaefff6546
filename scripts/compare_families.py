"""Compare ten families of models, each with every head, with transformers, as a Markdown table.

    python -m scripts.compare_families

The models are those of tests/fixtures/families, made by scripts/export_families.py with the scores
that transformers gives; a number is the largest difference of a score, alone and in a batch.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from roberta_sentiment.classifier import load_classifier
from roberta_sentiment.model.artifact import open_artifact
from roberta_sentiment.settings import Settings
from tests import families


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as scratch:
        print(table(families.unpack(Path(scratch))), end="")


def table(models: Path) -> str:
    """The table.

    Args:
        models: directory with a model directory `FAMILY/HEAD` for each row.
    """
    lines = []
    for family in families.FAMILIES:
        for head in families.HEADS:
            path = models / family / head
            artifact = open_artifact(path)
            cells = [f"{alone:.0e}, {together:.0e}" for alone, together in differences(path)]
            facts = (family, artifact.head().name, str(len(artifact.labels)))
            lines.append(f"| {' | '.join((*facts, str(artifact.position_limit), *cells))} |")
    names = families.read_reference(models / families.FAMILIES[0] / families.HEADS[0]).names
    header = f"| family | head | labels | limit | {' | '.join(names)} |"
    return "\n".join([header, "|---" * (4 + len(names)) + "|", *lines]) + "\n"


def differences(path: Path) -> list[tuple[float, float]]:
    """Largest difference of a score of each text, alone and in a batch."""
    reference = families.read_reference(path)
    classifier = load_classifier(open_artifact(path), Settings(threads=1, window_overlap=8))
    alone = np.concatenate([classifier.classify([t]).probabilities for t in reference.texts])
    together = classifier.classify(reference.texts).probabilities
    off = [np.abs(got - reference.scores).max(axis=1).tolist() for got in (alone, together)]
    return list(zip(*off, strict=True))


if __name__ == "__main__":
    main()
