"""Stage `calibrate`: divide the logits by one temperature, in the head's own weights.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017. The temperature is fitted on
SST-2 dev and on the reviews set aside, which weigh the same; no label changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from torch import nn

from lab.training.batches import Batch, make_batches
from lab.training.loop import predict
from lab.training.plain import DEV_BATCH_TOKENS, read_examples, student_logits
from lab.training.stages import Figures
from lab.training.student import load_student
from lab.training.tokenizer import load_tokenizer
from roberta_sentiment.tools.metrics import expected_error, reliability

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
DEV_SETS = {"sst2_dev": "dev.tsv", "reviews_set_aside": "reviews_dev.tsv"}


def negative_log_likelihood(logits: Floats, labels: Integers, temperature: float) -> float:
    """Mean over the texts; logits float [texts, 2], labels int [texts]."""
    chances = log_softmax(logits / temperature, axis=1)
    return float(-chances[np.arange(len(labels)), labels].mean())


def fit_temperature(sets: Sequence[tuple[Floats, Integers]]) -> float:
    """The temperature that makes the labels of all sets most likely, each set weighing the same."""

    def cost(logarithm: float) -> float:
        return sum(negative_log_likelihood(*part, float(np.exp(logarithm))) for part in sets)

    found = minimize_scalar(cost, bounds=(np.log(0.1), np.log(10)), method="bounded")
    return float(np.exp(found.x))


def calibration_error(logits: Floats, labels: Integers) -> float:
    """Expected difference of score and accuracy, as `evaluate` computes it."""
    chances = np.exp(log_softmax(logits, axis=1))
    right = chances.argmax(axis=1) == labels
    return expected_error(reliability(chances.max(axis=1), right))


def _logits(model: nn.Module, batches: list[Batch]) -> tuple[Floats, Integers]:
    found = list(predict(model, student_logits, batches))
    logits = np.concatenate([values.numpy().astype(np.float64) for _, values in found])
    return logits, np.concatenate([batch.labels.numpy() for batch, _ in found])


def calibrate(folder: Path, student: Path, corpus: Path, tokenizer: Path) -> Figures:
    """Write the calibrated student as a Hugging Face model directory."""
    model = load_student(student, 0.0).float().eval()
    bpe = load_tokenizer(tokenizer)
    sets = {
        name: _logits(
            model, make_batches(read_examples(corpus / file), bpe, 64, DEV_BATCH_TOKENS, None)
        )
        for name, file in DEV_SETS.items()
    }
    temperature = fit_temperature(list(sets.values()))
    for parameter in model.classifier.out_proj.parameters():
        parameter.data /= temperature
    model.save_pretrained(folder)
    figures: Figures = {"temperature": round(temperature, 4)}
    for name, (logits, labels) in sets.items():
        figures[name] = {
            "texts": len(labels),
            "accuracy": round(float((logits.argmax(axis=1) == labels).mean()), 4),
            "calibration_error_before": round(calibration_error(logits, labels), 4),
            "calibration_error": round(calibration_error(logits / temperature, labels), 4),
        }
    return figures
