"""Memory of a model in the first process that opens it and in each further one.

    python -m lab.benchmarks.memory

Each process reports its pages before it opens the model, after, and after 64 long reviews. What
the model costs is the difference. Further processes start while the first one lives, as workers do.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from lab.benchmarks import machine, models, targets, texts
from lab.benchmarks.start import without_optimised_file
from lab.benchmarks.usage import memory_mb
from scripts.serve import image_environment

PROCESSES = 3
REVIEWS = 64
ROUNDS = 3


class Process:
    """A process that opens a model and stays."""

    def __init__(self, model: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lab.benchmarks.memory", "child", str(model)],
            cwd=machine.ROOT,
            env={**os.environ, **image_environment()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.before, self.loaded, self.after = json.loads(self._process.stdout.readline())

    def now(self) -> dict[str, float]:
        """Its pages now; private ones become shared as others open the same file."""
        return memory_mb(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate("")


def child(model: Path) -> None:
    """Open a model, use it, tell the pages, and stay until standard input ends."""
    from roberta_sentiment.classifier import load_classifier
    from roberta_sentiment.model.artifact import open_artifact
    from roberta_sentiment.settings import Settings

    artifact = open_artifact(model)
    before = memory_mb(os.getpid())
    classifier = load_classifier(artifact, Settings())
    classifier.classify(["warm"])
    loaded = memory_mb(os.getpid())
    classifier.classify(texts.reviews(REVIEWS))
    print(json.dumps([before, loaded, memory_mb(os.getpid())]), flush=True)
    sys.stdin.read()


def of_processes(model: Path, rounds: int = 1) -> dict[str, Any]:
    """What the model costs the first process, which maps its file twice, and a further one, MB.

    The run with the median share of several: how much memory two runs side by side take depends on
    which sequences meet.
    """
    runs = sorted((once(model) for _ in range(rounds)), key=lambda run: run["further_share"])
    shares = [run["further_share"] for run in runs]
    return {**runs[rounds // 2], "further_shares": shares}


def once(model: Path) -> dict[str, Any]:
    """The same, one time."""
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(Process(model)) for _ in range(PROCESSES)]
        first, last = processes[0], processes[-1]
        own = last.now()
        total = first.after["pss"] - first.before["pss"]
        further = own["private"] - last.before["private"]
        return {
            "first_mb": round(total, 1),
            "first_loaded_mb": round(first.loaded["pss"] - first.before["pss"], 1),
            "further_private_mb": round(further, 1),
            "further_share": round(further / total, 3),
            "first_process_peak_mb": first.after["peak"],
            "python_mb": first.before["rss"],
        }


def of_service(target: targets.Target) -> dict[str, Any]:
    """Memory of a whole service after 32 reviews, MB; shared pages are counted once (PSS)."""
    with target.server as server:
        server.wait_until_ready()
        for text in texts.mixed(32):
            target.ask(text)
        used = [memory_mb(pid) for pid in server.processes()]
        return {
            "processes": len(used),
            "pss_mb": round(sum(entry["pss"] for entry in used), 1),
            "sum_of_rss_mb": round(sum(entry["rss"] for entry in used), 1),
        }


def main() -> None:
    """Measure and write the result."""
    if sys.argv[1:2] == ["child"]:
        child(Path(sys.argv[2]))
        return
    base, default = models.base(), models.default()
    model_rows, service_rows = {}, {}
    for name, model in (("default", default), ("base int8", base.int8), ("base fp32", base.fp32)):
        bare = without_optimised_file(model)
        model_rows[f"{name}, optimised file"] = of_processes(model, ROUNDS)
        model_rows[f"{name}, original"] = of_processes(bare)
        for workers in (1, 2, 4):
            service_rows[f"{name}, {workers} REST, 1 gRPC"] = of_service(
                targets.ours(name, model, GUNICORN_WORKERS=str(workers))
            )
        service_rows[f"{name}, original, 1 REST, 1 gRPC"] = of_service(targets.ours(name, bare))
    for name, model in (("int8 dynamic", base.plain_int8), ("fp32", base.export)):
        service_rows[f"plain class, base {name}, 1 REST, 1 gRPC"] = of_service(
            targets.plain(name, model)
        )
    path = machine.write("memory", {"model": model_rows, "service": service_rows})
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
