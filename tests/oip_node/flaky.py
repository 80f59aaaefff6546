"""A runtime whose model fails while a file is there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from oip_node.runtime import SentimentRuntime
from roberta_sentiment.errors import InferenceError


class FlakyRuntime(SentimentRuntime):
    """Fails on every text while the file in FLAKY exists, and always on the text "one alone"."""

    async def load(self) -> bool:
        """Load the model, then put the fault around it."""
        loaded = await super().load()
        classifier: Any = self._classifier
        original = classifier.classify

        def classify(texts: Sequence[str], truncation: Any = None) -> Any:
            if Path(os.environ["FLAKY"]).exists() or "one alone" in texts:
                raise InferenceError("the model failed")
            return original(texts, truncation)

        classifier.classify = classify
        return loaded
