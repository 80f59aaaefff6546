"""Optimum's pipeline on ONNX Runtime. Argument: the exported model's directory."""

from __future__ import annotations

import sys
from typing import Any

from optimum.onnxruntime import ORTModelForSequenceClassification
from transformers import AutoTokenizer, pipeline

from lab.benchmarks.contenders.loop import serve


def main() -> None:
    """Load and serve."""
    model = ORTModelForSequenceClassification.from_pretrained(sys.argv[1])
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
    run = pipeline("text-classification", model=model, tokenizer=tokenizer)

    def classify(texts: list[str], batch: int) -> list[list[float]]:
        found: list[Any] = run(
            texts, batch_size=batch, top_k=None, function_to_apply="none", truncation=True
        )
        return [_by_label(scores) for scores in found]

    serve(classify, ("optimum-onnx", "onnxruntime", "transformers", "torch"))


def _by_label(scores: list[dict[str, Any]]) -> list[float]:
    return [entry["score"] for entry in sorted(scores, key=lambda entry: str(entry["label"]))]


if __name__ == "__main__":
    main()
