"""What a server says about its model: in its metadata and with each answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from roberta_sentiment import container
from roberta_sentiment.model.heads import Head
from roberta_sentiment.predictions import Predictions
from roberta_sentiment.settings import Settings
from roberta_sentiment.version import __version__

if TYPE_CHECKING:  # a node around another model has no ONNX Runtime
    from roberta_sentiment.classifier import CheckedModel
    from roberta_sentiment.model.artifact import Artifact

EffectiveSettings = Mapping[str, object]
"""Settings by name, with what is in force where a default leaves it to the model or the machine."""


def effective_settings(
    settings: Settings, artifact: Artifact, checked: CheckedModel, *, exclusive_cpus: bool
) -> EffectiveSettings:
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
        "label_map": settings.label_map or "none",
        "max_tokens": checked.tokenizer.limit,
        "threads": settings.threads or container.available_cpus(),
        "batch_tokens": checked.batch_tokens,
        "device": str(checked.device),
        "precision": checked.precision,
        "exclusive_cpus": exclusive_cpus,
    }


def identity(artifact: Artifact, settings: EffectiveSettings, head: Head) -> dict[str, str]:
    """What every answer says of its model: name, version, precision, and a head other than softmax.

    Args:
        artifact: the model.
        settings: in force.
        head: of the model.
    """
    return {
        "model_name": str(settings["model_name"]),
        "model_version": artifact.version,
        "precision": str(settings["precision"]),
        **({} if head.activation == "softmax" else {"head": head.activation}),
    }


def answer_facts(identity: Mapping[str, str], predictions: Predictions) -> dict[str, Any]:
    """What an answer says beside its scores: the model's identity, tokens and truncated texts."""
    return {**identity, "tokens": predictions.tokens, "truncated": predictions.truncated}


def describe(
    artifact: Artifact, settings: EffectiveSettings, checked: CheckedModel
) -> dict[str, Any]:
    """Metadata: names, types and shapes of inputs and outputs, and what is custom.

    Under `custom` are strings only, and -1 is a free dimension, as in Seldon's schema.
    """
    head = checked.head
    shown = {name: value for name, value in settings.items() if not name.startswith("model_")}
    custom = {
        "labels": ", ".join(artifact.labels),
        **({"device_name": checked.device.name} if checked.device.name else {}),
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
