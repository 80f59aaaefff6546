"""This project without a server. Argument: the model's directory."""

from __future__ import annotations

import dataclasses
import functools
import sys
from pathlib import Path

from benchmarks.contenders.loop import serve
from roberta_sentiment import batching, prepared
from roberta_sentiment.artifact import open_artifact
from roberta_sentiment.classifier import Classifier, load_classifier
from roberta_sentiment.settings import Settings

DEFAULTS = Settings()


def main() -> None:
    """Load and serve; options change one thing at a time."""
    artifact = open_artifact(Path(sys.argv[1]))

    @functools.cache
    def load(batch_tokens: int, threads: int, optimized: bool) -> Classifier:
        settings = dataclasses.replace(DEFAULTS, batch_tokens=batch_tokens, threads=threads)
        roots = prepared.default_roots
        if not optimized:
            prepared.default_roots = lambda model: []
        try:
            return load_classifier(artifact, settings)
        finally:
            prepared.default_roots = roots

    def classify(
        texts: list[str],
        alone: bool = False,
        batch_tokens: int = DEFAULTS.batch_tokens,
        run_tokens: int = batching.RUN_TOKENS,
        threads: int = 0,
        optimized: bool = True,
    ) -> list[list[float]]:
        classifier = load(batch_tokens, threads, optimized)
        usual, batching.RUN_TOKENS = batching.RUN_TOKENS, run_tokens
        try:
            groups = [[text] for text in texts] if alone else [texts]
            return [row for group in groups for row in classifier.classify(group).logits.tolist()]
        finally:
            batching.RUN_TOKENS = usual

    serve(classify, ("onnxruntime", "tokenizers"), batch_tokens=DEFAULTS.batch_tokens)


if __name__ == "__main__":
    main()
