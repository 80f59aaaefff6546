"""Stage `export`: the best student as a model directory, in fp32 and with 8-bit weights."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

from roberta_sentiment.artifact import open_artifact
from roberta_sentiment.tools.convert import convert
from roberta_sentiment.tools.labelled import read_labelled
from roberta_sentiment.tools.quantize import quantize
from training.batches import Example
from training.corpus import read_tsv
from training.glue import Gluer
from training.stages import Figures
from training.texts import surface

NAME = "roberta-sentiment-mini"
LICENCE = "Apache-2.0"
ORIGIN = (
    "sentence-transformers/all-MiniLM-L6-v2, its vocabulary replaced, distilled from a fine-tuned "
    "sentence-transformers/all-mpnet-base-v2 by training/ of this project"
)
SENTENCES, LONG = 400, 24
"""Calibration texts: sentences in their surface forms, and glued ones of 100 to 400 words."""


def calibration_texts(corpus: Path, seed: int) -> list[str]:
    """Training texts as a server meets them."""
    draw = random.Random(seed)
    known = [text for text in read_tsv(corpus / "labelled.tsv") if len(text.text.split()) > 3]
    texts = [surface(text.text, draw) for text in draw.sample(known, SENTENCES)]
    logits = ((1.0, -1.0), (-1.0, 1.0))
    gluer = Gluer([Example(t.text, t.label, logits[t.label]) for t in known])
    return texts + [gluer.text(draw.randint(100, 400), draw).text for _ in range(LONG)]


def export_model(
    folder: Path, source: Path, tokenizer: Path, corpus: Path, data: Path, seed: int
) -> Figures:
    """Fill `folder` with fp32/ and int8/, two complete model directories."""
    converted = convert(
        source,
        folder / "fp32",
        tokenizer=tokenizer,
        name=NAME,
        licence=LICENCE,
        origin=ORIGIN,
    )
    artifact = open_artifact(folder / "fp32")
    judges = read_labelled(data / "sst2_dev.tsv", artifact.labels)
    report = quantize(artifact, folder / "int8", judges, calibration_texts(corpus, seed))
    return {
        "largest_logit_difference_to_pytorch": converted.largest_difference,
        "quantization": dataclasses.asdict(report),
        "int8_directory_bytes": sum(path.stat().st_size for path in (folder / "int8").iterdir()),
    }
