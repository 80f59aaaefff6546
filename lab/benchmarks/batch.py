"""What batch engines cost: Spark with one and two executors, and Seldon's batch processor.

    python -m lab.benchmarks.batch [--rows 6000] [--words 60]
    python -m lab.benchmarks.batch memory [--rows 200000] [--words 8]

Needs `make test-spark`'s packages and Java. A rate is that of the scoring itself: of Spark the time
between the first and the last part that is done, without its start and that of the model.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from lab.benchmarks import machine, texts
from lab.benchmarks.usage import memory_mb
from scripts.local_service import Microservice
from scripts.serve import image_environment

SPARK_MEMORY = 1024
"""MB of an executor's JVM."""


def write_reviews(path: Path, rows: int, words: int) -> None:
    """Parquet with texts of about so many words."""
    found = texts.reviews(min(rows, 20_000), (words // 2, words * 3 // 2))
    column = [found[i % len(found)] for i in range(rows)]
    pyarrow.parquet.write_table(pyarrow.table({"id": range(rows), "text": column}), path)


def locally(path: Path, threads: int) -> dict[str, float]:
    """Texts a second of `score`, from its first finished chunk on."""
    from roberta_sentiment.model.artifact import locate, open_artifact
    from roberta_sentiment.settings import Settings
    from roberta_sentiment.tools.score.run import Progress, score

    reached: list[tuple[float, int]] = []

    def note(progress: Progress) -> None:
        reached.append((time.perf_counter(), progress.state.rows))

    output = path.with_name(f"local{threads}.parquet")
    score(path, output, open_artifact(*locate("")), Settings(threads=threads), on_progress=note)
    (start, first), (end, last) = reached[1], reached[-1]
    return {"texts_per_s": round((last - first) / (end - start), 1)}


@contextlib.contextmanager
def spark_job(path: Path, output: Path, executors: int, partitions: int) -> Iterator[Any]:
    """`score --engine spark` on so many executor processes of one core."""
    log = output.with_name(output.name + ".log").open("w")
    job = subprocess.Popen(
        [sys.executable, "-m", "roberta_sentiment", "score", "--engine", "spark",
         str(path), str(output), "--partitions", str(partitions)],
        cwd=machine.ROOT, stderr=log,
        env={
            **os.environ,
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_LOCAL_DIRS": str(output.parent / f"{output.name}.scratch"),
            "PYSPARK_SUBMIT_ARGS": f"--master local-cluster[{executors},1,{SPARK_MEMORY}] "
            "--conf spark.ui.enabled=false pyspark-shell",
        },
    )  # fmt: skip
    with job, log:
        yield job
    assert job.returncode == 0, machine.errors_in(Path(log.name).read_text(encoding="utf-8"))


def on_spark(path: Path, executors: int, rows: int) -> dict[str, float]:
    """Texts a second: the parts behind the first of each executor over their time."""
    partitions = 12
    output = path.with_name(f"spark{executors}")
    scratch = path.with_name(f"spark{executors}.scratch")
    begun = time.perf_counter()
    with spark_job(path, output, executors, partitions) as job:
        done: dict[str, float] = {}
        while job.poll() is None:
            for file in scratch.glob("**/rdd_*"):
                done.setdefault(file.name, time.perf_counter())
            time.sleep(0.02)
    finished = sorted(done.values())
    span = finished[-1] - finished[executors - 1]
    return {
        "texts_per_s": round(rows * (len(finished) - executors) / partitions / span, 1),
        "seconds_of_the_job": round(time.perf_counter() - begun, 1),
    }


def memory_of(path: Path, rows: int) -> dict[str, Any]:
    """Memory of the executor, JVM and Python worker, at parts of a run over many rows, MB."""
    output, curve = path.with_name("memory"), []
    with spark_job(path, output, 1, max(8, rows // 10_000)) as job:
        while job.poll() is None:
            used = {"jvm": 0.0, "python": 0.0}
            for pid, command in descendants(job.pid):
                with contextlib.suppress(OSError, KeyError):
                    if "CoarseGrainedExecutorBackend" in command:
                        used["jvm"] = memory_mb(pid)["rss"]
                    elif "pyspark.daemon" in command:
                        used["python"] += memory_mb(pid)["pss"]
            parts = len({file.name for file in path.parent.glob("memory.scratch/**/rdd_*")})
            curve.append({"parts": parts, **used})
            time.sleep(1)
    steady = [point["python"] for point in curve if point["parts"] >= 2]
    half = len(steady) // 2
    return {
        "rows": rows,
        "python_mb_first_half": round(sum(steady[:half]) / half, 1),
        "python_mb_second_half": round(sum(steady[half:]) / (len(steady) - half), 1),
        "python_mb_most": round(max(steady), 1),
        "jvm_mb_most": round(max(point["jvm"] for point in curve), 1),
    }


def descendants(process: int) -> Iterator[tuple[int, str]]:
    """Processes below one with their command lines."""
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{process}/task").iterdir():
            for child in (thread / "children").read_text().split():
                yield int(child), Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ")
                yield from descendants(int(child))


def by_seldon(path: Path, transport: str, batch: int) -> dict[str, float]:
    """Texts a second of seldon-batch-processor, with eight workers against our service."""
    column = pyarrow.parquet.read_table(path)["text"].to_pylist()
    lines = path.with_name("in.jsonl")
    lines.write_text("".join(json.dumps([text]) + "\n" for text in column), encoding="utf-8")
    service = Microservice({**image_environment(), "MODEL_NAME": "Model"}, {})
    with service.start() as server:
        port = server.http if transport == "rest" else server.grpc
        begun = time.perf_counter()
        subprocess.run(
            [str(Path(sys.executable).parent / "seldon-batch-processor"), "-d", "sentiment",
             "-n", "default", "-g", "seldon", "-h", f"127.0.0.1:{port}", "--transport", transport,
             "-i", str(lines), "-o", str(path.with_name("out.jsonl")), "-w", "8", "-s", str(batch),
             "--log-level", "error"],
            check=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        return {"texts_per_s": round(len(column) / (time.perf_counter() - begun), 1)}


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", choices=["rates", "memory"], default="rates")
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--words", type=int, default=60)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reviews.parquet"
        write_reviews(path, asked.rows, asked.words)
        if asked.what == "memory":
            print(machine.write("batch_memory", memory_of(path, asked.rows)).read_text())
            return
        rows: dict[str, Any] = {
            "score, 1 thread": locally(path, 1),
            "Spark, 1 executor of 1 core": on_spark(path, 1, asked.rows),
            "score, 2 threads": locally(path, 2),
            "Spark, 2 executors of 1 core": on_spark(path, 2, asked.rows),
        }
        for transport in ("rest", "grpc"):
            for batch in (1, 16):
                name = f"seldon-batch-processor, {transport}, {batch} texts a request"
                rows[name] = by_seldon(path, transport, batch)
    rate = {name: row["texts_per_s"] for name, row in rows.items()}
    ratios = {
        "two executors to one": rate["Spark, 2 executors of 1 core"]
        / rate["Spark, 1 executor of 1 core"],
        "Spark to score on one core": rate["Spark, 1 executor of 1 core"] / rate["score, 1 thread"],
        "Spark to score on two cores": rate["Spark, 2 executors of 1 core"]
        / rate["score, 2 threads"],
    }
    result = {
        "rows_scored": asked.rows, "words": asked.words, "rows": rows,
        "ratios": {name: round(value, 3) for name, value in ratios.items()},
    }  # fmt: skip
    print(machine.write("batch", result).read_text())


if __name__ == "__main__":
    main()
