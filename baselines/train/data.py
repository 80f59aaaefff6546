"""Training sentences, less everything that touches the sentences of the reported figures."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from baselines.words import LABELS
from lab.training.corpus import Guard, Text
from lab.training.texts import natural
from roberta_sentiment.tools.labelled import read_labelled


@dataclasses.dataclass(frozen=True)
class Split:
    """Texts to learn from and texts to report on.

    Attributes:
        sentences: whole sentences (sentence polarity v1.0), as people write them.
        phrases: phrases and sentences (SST-2 train).
        dev: SST-2's validation split; never learned from.
    """

    sentences: list[Text]
    phrases: list[Text]
    dev: list[Text]


def read_split(folder: Path) -> Split:
    """Read the data sets; a text that shares eight words in a row with dev is left out.

    Args:
        folder: holds `sst2_train.tsv`, `sst2_dev.tsv` and `rt_polarity_train.tsv`.
    """
    dev = _read(folder / "sst2_dev.tsv")
    guard = Guard(dev)

    def clean(name: str) -> list[Text]:
        texts = _read(folder / name)
        return [Text(t.label, natural(t.text)) for t in texts if not guard.touches(t.text)]

    return Split(clean("rt_polarity_train.tsv"), clean("sst2_train.tsv"), dev)


def _read(path: Path) -> list[Text]:
    data = read_labelled(path, LABELS)
    return [Text(label, text) for label, text in zip(data.labels, data.texts, strict=True)]
