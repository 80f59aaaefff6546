"""The published way: a transformers pipeline on PyTorch. Argument: the checkpoint's directory."""

from __future__ import annotations

import sys
from typing import Any

import torch
from transformers import pipeline

from lab.benchmarks.contenders.loop import serve


def main() -> None:
    """Load and serve."""
    run = pipeline("text-classification", model=sys.argv[1], device="cpu")

    def classify(texts: list[str], batch: int) -> list[list[float]]:
        with torch.inference_mode():
            found: list[Any] = run(
                texts, batch_size=batch, top_k=None, function_to_apply="none", truncation=True
            )
        return [_by_label(scores) for scores in found]

    serve(classify, ("torch", "transformers"), threads=torch.get_num_threads())


def _by_label(scores: list[dict[str, Any]]) -> list[float]:
    return [entry["score"] for entry in sorted(scores, key=lambda entry: str(entry["label"]))]


if __name__ == "__main__":
    main()
