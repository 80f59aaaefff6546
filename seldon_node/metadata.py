"""The model's metadata in the form that Seldon's wrapper checks and serves."""

from __future__ import annotations

from typing import Any

from roberta_sentiment.artifact import Artifact
from roberta_sentiment.classifier import Checked
from roberta_sentiment.settings import Settings
from roberta_sentiment.version import __version__


def describe(artifact: Artifact, settings: Settings, name: str, checked: Checked) -> dict[str, Any]:
    """Seldon v1 metadata: names, types and shapes of inputs and outputs, and what is custom.

    Seldon's schema allows strings only under `custom`, and -1 for a free dimension.
    """
    head = checked.head
    limits = {
        "max_texts": settings.max_texts,
        "max_characters": settings.max_characters,
        "max_body_bytes": settings.max_body_bytes,
        "max_tokens": checked.tokenizer.limit,
    }
    custom = {
        "labels": ", ".join(artifact.labels),
        "head": head.description,
        "precision": artifact.precision,
        "batch_invariant": str(artifact.batch_invariant).lower(),
        "sha256": artifact.sha256,
        "source": artifact.source,
        "licence": str(artifact.manifest.get("licence", "unknown")),
        "origin": str(artifact.manifest.get("origin", "unknown")),
        "truncation": settings.truncation,
        "component_version": __version__,
        **{key: str(value) for key, value in limits.items()},
    }
    return {
        "name": name,
        "versions": [artifact.version],
        "platform": "onnxruntime",
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {
                "name": "values" if head.is_regression else "probabilities",
                "datatype": "FP64",
                "shape": [-1, len(artifact.labels)],
            }
        ],
        "custom": custom,
    }
