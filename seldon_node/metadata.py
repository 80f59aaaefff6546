"""The model's metadata in the form that Seldon's wrapper checks and serves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from roberta_sentiment.classifier import Checked, available_threads
from roberta_sentiment.model.artifact import Artifact
from roberta_sentiment.settings import Settings
from roberta_sentiment.version import __version__

InForce = Mapping[str, object]
"""Settings by name, with what is in force where a default leaves it to the model or the machine."""


def in_force(
    settings: Settings, artifact: Artifact, checked: Checked, *, exclusive_cpus: bool
) -> InForce:
    """The settings that this server works with.

    Args:
        settings: as they were set.
        artifact: the model.
        checked: what is known of it.
        exclusive_cpus: whether the threads that serve requests have a CPU of their own.
    """
    return {
        **dataclasses.asdict(settings),
        "model_uri": str(artifact.path),
        "model_name": settings.model_name or artifact.name,
        "head": checked.head.description,
        "max_tokens": checked.tokenizer.limit,
        "threads": available_threads(settings),
        "exclusive_cpus": exclusive_cpus,
    }


def describe(artifact: Artifact, settings: InForce, checked: Checked) -> dict[str, Any]:
    """Seldon v1 metadata: names, types and shapes of inputs and outputs, and what is custom.

    Seldon's schema allows strings only under `custom`, and -1 for a free dimension.
    """
    head = checked.head
    shown = {name: value for name, value in settings.items() if not name.startswith("model_")}
    custom = {
        "labels": ", ".join(artifact.labels),
        "precision": artifact.precision,
        "batch_invariant": str(artifact.batch_invariant).lower(),
        "sha256": artifact.sha256,
        "source": artifact.source,
        "licence": str(artifact.manifest.get("licence", "unknown")),
        "origin": str(artifact.manifest.get("origin", "unknown")),
        "component_version": __version__,
        **{name: _text(value) for name, value in shown.items()},
    }
    return {
        "name": str(settings["model_name"]),
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


def _text(value: object) -> str:
    """A value as a manifest would give it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
