"""Cost of one run of the model against its length and its batch, and where the time goes.

python -m lab.benchmarks.cost
"""

from __future__ import annotations

import argparse
import collections
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from lab.benchmarks import machine, models
from roberta_sentiment.container import available_cpus
from roberta_sentiment.model.artifact import Artifact, open_artifact
from roberta_sentiment.model.derived import FILE, Cache, default_roots, open_prepared, optimized_key

LENGTHS = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
BATCH_LENGTH = 24
PROFILED = ((1, 24), (16, 24), (1, 128), (1, 512))
_LEAST_S, _LEAST_RUNS, _MOST_RUNS = 0.6, 5, 60


def milliseconds(run: Any, ids: Any, lengths: Any) -> float:
    """Median of several runs."""
    run(ids, lengths)
    times: list[float] = []
    while len(times) < _LEAST_RUNS or (sum(times) < _LEAST_S and len(times) < _MOST_RUNS):
        start = time.perf_counter()
        run(ids, lengths)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


def batch_of(artifact: Artifact, rows: int, length: int) -> tuple[Any, Any]:
    """Random ids without padding."""
    draw = np.random.default_rng(0)
    ids = draw.integers(artifact.pad_id + 1, artifact.vocab_size, (rows, length))
    return ids, np.full(rows, length)


def shares(artifact: Artifact, rows: int, length: int) -> dict[str, float]:
    """Part of the time in each kind of operator, from ONNX Runtime's profiler; the largest ones."""
    found = Cache(default_roots()).find(optimized_key(artifact.digest))
    assert found is not None, f"{artifact.path} has no optimised file"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = available_cpus()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_profiling = True
    options.profile_file_prefix = str(Path(tempfile.mkdtemp()) / "profile")
    session = onnxruntime.InferenceSession(str(found.path / FILE), options)
    ids, _ = batch_of(artifact, rows, length)
    for _ in range(20):
        session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    spent: collections.Counter[str] = collections.Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            spent[event["args"]["op_name"]] += event["dur"]
    total = sum(spent.values())
    return {name: round(value / total, 3) for name, value in spent.most_common(9)}


def main() -> None:
    """Measure and write the result."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    base = models.base()
    result: dict[str, Any] = {}
    for name, path in (("default", models.default()), ("int8", base.int8), ("fp32", base.fp32)):
        artifact = open_artifact(path)
        session = open_prepared(artifact, threads=available_cpus()).session
        by_length = {n: milliseconds(session.run, *batch_of(artifact, 1, n)) for n in LENGTHS}
        by_batch = {
            n: milliseconds(session.run, *batch_of(artifact, n, BATCH_LENGTH)) / n for n in BATCHES
        }
        result[name] = {
            "ms_by_length_alone": {n: round(v, 2) for n, v in by_length.items()},
            "ms_a_text_by_batch": {n: round(v, 3) for n, v in by_batch.items()},
            "time_by_operator": {f"{b} x {n}": shares(artifact, b, n) for b, n in PROFILED},
        }
    path = machine.write("cost", {"batch_length": BATCH_LENGTH, "models": result})
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
