"""What counting costs a request: the wrapper's own store against the repaired one."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

from seldon_core.metrics import SeldonMetrics

from lab.benchmarks import machine
from roberta_sentiment.classifier import Predictions, Work
from roberta_sentiment.serving import metrics
from seldon_node.metrics_store import MetricsStore

ROUNDS = 2000


def one_request() -> list[dict[str, Any]]:
    """The metrics of a request with one text."""
    import numpy as np

    logits = np.array([[-1, 1]], dtype=np.float32)
    work = Work(1, 20, 0, 0.0001, 0.0, 0.004)
    return metrics.prediction_metrics(Predictions(("negative", "positive"), logits, [20], [], work))


def median_ms(update: Callable[..., None]) -> float:
    """Median time of building the metrics of one request and counting them, ms."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        update(one_request(), "predict")
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


def main() -> None:
    """Measure both in one run, alternating, and write the result."""
    results: dict[str, list[float]] = {"wrapper": [], "repaired": []}
    for _ in range(5):
        results["wrapper"].append(median_ms(SeldonMetrics(os.getpid).update))
        results["repaired"].append(median_ms(MetricsStore().update))
    medians = {name: round(statistics.median(values), 4) for name, values in results.items()}
    path = machine.write(
        "metrics_cost",
        {
            "unit": "ms a request, median of 5 medians",
            "rounds": ROUNDS,
            **medians,
            "ratio": round(medians["wrapper"] / medians["repaired"], 2),
        },
    )
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
