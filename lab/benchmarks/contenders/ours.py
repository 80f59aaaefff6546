"""This project without a server. Argument: the model's directory."""

from __future__ import annotations

import dataclasses
import functools
import sys
from pathlib import Path
from typing import Any

from lab.benchmarks.contenders.loop import serve
from roberta_sentiment.classifier import Classifier, load_classifier
from roberta_sentiment.model import derived as _derived
from roberta_sentiment.model.artifact import open_artifact
from roberta_sentiment.run import batching
from roberta_sentiment.run.session import CONFIGURATION
from roberta_sentiment.settings import Settings

derived: Any = _derived
"""As a value, whose names may be replaced."""

DEFAULTS = Settings()
Entries = tuple[tuple[str, str], ...]


def main() -> None:
    """Load and serve; options change one thing at a time."""
    artifact = open_artifact(Path(sys.argv[1]))

    @functools.cache
    def load(
        batch_tokens: int, threads: int, optimized: bool, side_by_side: bool, entries: Entries
    ) -> Classifier:
        settings = dataclasses.replace(DEFAULTS, batch_tokens=batch_tokens, threads=threads)
        roots, opened, shipped = derived.default_roots, derived.open_session, derived.Prepared
        if not optimized:
            derived.default_roots = list
        derived.open_session = _opened(opened, dict(entries))
        if not side_by_side:
            derived.Prepared = lambda session, kind, parallel_session=None: shipped(session, kind)
        try:
            return load_classifier(artifact, settings)
        finally:
            derived.default_roots, derived.open_session = roots, opened
            derived.Prepared = shipped

    def classify(
        texts: list[str],
        alone: bool = False,
        batch_tokens: int = DEFAULTS.batch_tokens,
        attention_pairs: int = batching.ATTENTION_PAIRS,
        threads: int = 0,
        optimized: bool = True,
        side_by_side: bool = True,
        configuration: dict[str, str] = {},  # noqa: B006
    ) -> list[list[float]]:
        entries = tuple(configuration.items())
        classifier = load(batch_tokens, threads, optimized, side_by_side, entries)
        usual, batching.ATTENTION_PAIRS = batching.ATTENTION_PAIRS, attention_pairs
        try:
            groups = [[text] for text in texts] if alone else [texts]
            return [row for group in groups for row in classifier.classify(group).logits.tolist()]
        finally:
            batching.ATTENTION_PAIRS = usual

    serve(classify, ("onnxruntime", "tokenizers"), batch_tokens=DEFAULTS.batch_tokens)


def _opened(opened: Any, entries: dict[str, str]) -> Any:
    return functools.partial(opened, configuration={**CONFIGURATION, **entries})


if __name__ == "__main__":
    main()
