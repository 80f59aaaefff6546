"""What batch engines cost: Spark with one and two executors, and Seldon's batch processor.

    python -m lab.benchmarks.batch [--rows 9000] [--words 60]
    python -m lab.benchmarks.batch memory [--rows 200000] [--words 8]
    python -m lab.benchmarks.batch alone [--rows 2000] [--words 20]

Needs `make test-spark`'s packages and Java. Spark has an executor of one core for each core, and on
one core its driver runs there, too. A rate is that of the scoring itself: of Spark the time between
the first and the last task that ends, without its start and that of the model. `memory` is that of
an executor; `alone` is what it costs to run each text by itself, as float models are scored.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
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

from lab.benchmarks import machine, models, pages, texts
from lab.benchmarks.usage import memory_mb
from scripts.local_service import Microservice
from scripts.serve import image_environment

SPARK_MEMORY = 1024
"""MB of an executor's JVM."""
TASKS = 8
_POOL = 20_000
_SELDON_ROWS = 2000


def main() -> None:
    """Measure, write the result and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", choices=list(_DEFAULTS), default="rates")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--words", type=int)
    asked = parser.parse_args()
    measure, name, rows, words = _DEFAULTS[asked.what]
    rows, words = asked.rows or rows, asked.words or words
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reviews.parquet"
        write_reviews(path, rows, words)
        result = {"rows_scored": rows, "words": words, **measure(path, rows)}
    machine.write(name, result)
    print(pages.render(name))


def write_reviews(path: Path, rows: int, words: int) -> None:
    """Parquet with texts of about so many words."""
    found = texts.reviews(min(rows, _POOL), (words // 2, words * 3 // 2))
    column = [found[i % len(found)] for i in range(rows)]
    pyarrow.parquet.write_table(pyarrow.table({"id": range(rows), "text": column}), path)


def rates(path: Path, rows: int) -> dict[str, Any]:
    """Texts a second of each way, and what they are to each other."""
    found = {}
    for cores, where in ((1, "1 core"), (2, "2 cores")):
        found[f"score on {where}"] = locally(path, cores)
        found[f"Spark on {where}"] = on_spark(path, cores, rows)
    for transport in ("rest", "grpc"):
        for batch in (1, 16):
            name = f"seldon-batch-processor, {transport}, {batch} a request"
            found[name] = by_seldon(path, transport, batch)
    pairs = {
        "two executors to one": ("Spark on 2 cores", "Spark on 1 core"),
        **{f"Spark to score on {where}": (f"Spark on {where}", f"score on {where}")
           for where in ("1 core", "2 cores")},
        **{f"{name} to score": (name, "score on 2 cores") for name in found if "seldon" in name},
    }  # fmt: skip
    return {
        "texts_per_s": found,
        "ratios": {name: round(found[a] / found[b], 3) for name, (a, b) in pairs.items()},
    }


@contextlib.contextmanager
def on_cores(count: int) -> Iterator[None]:
    """Processes that are started meanwhile run on so many cores."""
    all_cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(all_cores)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, all_cores)


def locally(path: Path, cores: int) -> float:
    """Texts a second of `score`, from its first finished chunk on."""
    with on_cores(cores), multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_score, (path, cores))


def _score(path: Path, threads: int) -> float:
    from roberta_sentiment.model.artifact import locate, open_artifact
    from roberta_sentiment.settings import Settings
    from roberta_sentiment.tools.score.run import Progress, score

    reached: list[tuple[float, int]] = []

    def note(progress: Progress) -> None:
        reached.append((time.perf_counter(), progress.state.rows))

    output = path.with_name(f"local{threads}.parquet")
    score(path, output, open_artifact(*locate("")), Settings(threads=threads), on_progress=note)
    (start, first), (end, last) = reached[1], reached[-1]
    return round((last - first) / (end - start), 1)


@contextlib.contextmanager
def spark_job(path: Path, output: Path, executors: int, tasks: int) -> Iterator[Any]:
    """`score --engine spark` on so many executor processes of one core, with a log of events."""
    log, events = output.with_name(f"{output.name}.log"), output.with_name(f"{output.name}.events")
    events.mkdir()
    options = {
        "spark.ui.enabled": "false",
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": events.as_uri(),
        "spark.eventLog.compress": "false",
        "spark.eventLog.rolling.enabled": "false",
    }
    confs = " ".join(f"--conf {name}={value}" for name, value in options.items())
    master = f"--master local-cluster[{executors},1,{SPARK_MEMORY}]"
    with log.open("w", encoding="utf-8") as stream:
        job = subprocess.Popen(
            [sys.executable, "-m", "roberta_sentiment", "score", "--engine", "spark",
             str(path), str(output), "--partitions", str(tasks)],
            cwd=machine.ROOT, stderr=stream,
            env={
                **os.environ,
                "SPARK_LOCAL_IP": "127.0.0.1",
                "SPARK_LOCAL_DIRS": str(output.with_name(f"{output.name}.scratch")),
                "PYSPARK_SUBMIT_ARGS": f"{master} {confs} pyspark-shell",
            },
        )  # fmt: skip
        with job:
            yield job
    assert job.returncode == 0, machine.errors_in(log.read_text(encoding="utf-8"))


def on_spark(path: Path, executors: int, rows: int) -> float:
    """Texts a second: the tasks behind the first of each executor over their time."""
    output = path.with_name(f"spark{executors}")
    with on_cores(executors), spark_job(path, output, executors, TASKS):
        pass
    ends = scoring_ends(output.with_name(f"{output.name}.events"))
    span = ends[-1] - ends[executors - 1]
    return round(rows * (TASKS - executors) / TASKS / span, 1)


def scoring_ends(events: Path) -> list[float]:
    """When the tasks of the scoring, the longest stage with all tasks, ended, in order, seconds."""
    [log] = events.iterdir()
    stages: dict[int, list[tuple[float, float]]] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        if event["Event"] == "SparkListenerTaskEnd":
            times = [event["Task Info"][name] / 1000 for name in ("Launch Time", "Finish Time")]
            stages.setdefault(event["Stage ID"], []).append((times[0], times[1]))
    whole = [tasks for tasks in stages.values() if len(tasks) == TASKS]
    scoring = max(whole, key=lambda tasks: sum(end - start for start, end in tasks))
    return sorted(end for _, end in scoring)


def memory(path: Path, rows: int) -> dict[str, Any]:
    """Memory of an executor, JVM and Python worker, over a run with many rows, MB."""
    output, curve = path.with_name("memory"), []
    scratch = output.with_name("memory.scratch")
    with spark_job(path, output, 1, max(8, rows // 10_000)) as job:
        while job.poll() is None:
            tasks = len({file.name for file in scratch.glob("**/rdd_*")})
            curve.append({"tasks": tasks, **executor_memory(job.pid)})
            time.sleep(1)
    steady = [point["python"] for point in curve if point["tasks"] >= 2]
    half = len(steady) // 2
    return {
        "python_mb_first_half": round(sum(steady[:half]) / half, 1),
        "python_mb_second_half": round(sum(steady[half:]) / (len(steady) - half), 1),
        "python_mb_most": round(max(steady), 1),
        "jvm_mb_most": round(max(point["jvm"] for point in curve), 1),
        "curve": curve[::10],
    }


def executor_memory(job: int) -> dict[str, float]:
    """MB of the executor's JVM (RSS) and of its Python processes (PSS)."""
    used = {"jvm": 0.0, "python": 0.0}
    for pid, command in descendants(job):
        with contextlib.suppress(OSError):
            if "CoarseGrainedExecutorBackend" in command:
                used["jvm"] = memory_mb(pid)["rss"]
            elif "pyspark.daemon" in command:
                used["python"] += memory_mb(pid)["pss"]
    return used


def descendants(process: int) -> Iterator[tuple[int, str]]:
    """Processes below one with their command lines."""
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{process}/task").iterdir():
            for child in (thread / "children").read_text().split():
                yield int(child), Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ")
                yield from descendants(int(child))


def by_seldon(path: Path, transport: str, batch: int) -> float:
    """Texts a second of seldon-batch-processor, with eight workers against our service.

    Args:
        path: of the texts, of which the first `_SELDON_ROWS` are sent.
        transport: rest or grpc.
        batch: texts of a request.
    """
    column = pyarrow.parquet.read_table(path)["text"].to_pylist()[:_SELDON_ROWS]
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
        return round(len(column) / (time.perf_counter() - begun), 1)


def alone(path: Path, rows: int) -> dict[str, Any]:
    """Texts a second with each text in a run of its own and in shared runs, on one thread."""
    from roberta_sentiment.classifier import load_classifier
    from roberta_sentiment.model.artifact import DEFAULT_MODEL, open_artifact
    from roberta_sentiment.settings import Settings

    column = pyarrow.parquet.read_table(path)["text"].to_pylist()
    found = {}
    for name, model in {"int8": DEFAULT_MODEL, "float": models.default_float()}.items():
        artifact = open_artifact(model)
        seconds: dict[int, list[float]] = {0: [], 1: []}
        classifiers = {
            tokens: load_classifier(artifact, Settings(threads=1, batch_tokens=tokens))
            for tokens in seconds
        }
        for tokens in (0, 1, 1, 0, 0, 1):
            begun = time.perf_counter()
            for i in range(0, rows, 256):
                classifiers[tokens].classify(column[i : i + 256])
            seconds[tokens].append(time.perf_counter() - begun)
        shared, single = (rows / min(times) for times in seconds.values())
        found[name] = {
            "shared_per_s": round(shared, 1),
            "alone_per_s": round(single, 1),
            "alone_to_shared": round(single / shared, 3),
        }
    return {"models": found}


_DEFAULTS: dict[str, tuple[Any, str, int, int]] = {
    "rates": (rates, "batch", 9000, 60),
    "memory": (memory, "batch_memory", 200_000, 8),
    "alone": (alone, "batch_alone", 2000, 20),
}
"""What is measured, the name of the result, rows and words of a text."""


if __name__ == "__main__":
    main()
