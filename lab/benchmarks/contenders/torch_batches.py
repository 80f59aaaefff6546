"""PyTorch in bfloat16, as one writes it who wants speed. Argument: the checkpoint's directory."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from lab.benchmarks.contenders.batches import Batches, Feed
from lab.benchmarks.contenders.loop import serve


def main() -> None:
    """Load what is asked for, and serve."""
    directory = Path(sys.argv[1])
    batches = Batches(directory)

    @functools.cache
    def load(compiled: bool) -> Any:
        model = AutoModelForSequenceClassification.from_pretrained(
            directory, dtype=torch.bfloat16, attn_implementation="sdpa"
        ).eval()
        return torch.compile(model, dynamic=True) if compiled else model

    def classify(texts: list[str], batch: int, compiled: bool = False) -> list[list[float]]:
        model = load(compiled)

        def run(feed: Feed) -> Any:
            tensors = {name: torch.from_numpy(array) for name, array in feed.items()}
            with torch.inference_mode():
                return model(**tensors).logits.float().numpy()

        return batches.run(run, texts, batch=batch, sort=True)

    serve(classify, ("torch", "transformers"), threads=torch.get_num_threads())


if __name__ == "__main__":
    main()
