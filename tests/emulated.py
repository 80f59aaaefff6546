"""Logits on the CPU that runs this: python -m tests.emulated < REQUEST > ANSWER, both JSON.

A request has `texts` for the model directories `models`, and `tokens` for the graphs `graphs`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from roberta_sentiment import container
from roberta_sentiment.classifier import load_classifier
from roberta_sentiment.graph.saturation import has_exact_int8_dot
from roberta_sentiment.model.artifact import open_artifact
from roberta_sentiment.run.session import open_session
from roberta_sentiment.settings import Settings

TOGETHER = 6


def of_model(directory: str, texts: list[str]) -> dict[str, list[list[float]]]:
    """Each text alone, and the first `TOGETHER` in one call."""
    classifier = load_classifier(open_artifact(Path(directory)), Settings(threads=1))
    return {
        "alone": [classifier.classify([text]).logits[0].tolist() for text in texts],
        "together": classifier.classify(texts[:TOGETHER]).logits.tolist(),
    }


def of_graph(path: str, tokens: list[list[int]]) -> list[list[float]]:
    """Rows of one length."""
    ids = np.array(tokens)
    session = open_session(Path(path), threads=1)
    answer: list[list[float]] = session.run(ids, np.full(len(ids), ids.shape[1])).tolist()
    return answer


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """What this CPU is, and what it makes of the request."""
    return {
        "features": list(container.features()),
        "has_exact_int8_dot": has_exact_int8_dot(),
        "models": [of_model(path, request["texts"]) for path in request["models"]],
        "graphs": [of_graph(path, request["tokens"]) for path in request["graphs"]],
    }


if __name__ == "__main__":
    json.dump(answer(json.load(sys.stdin)), sys.stdout)
