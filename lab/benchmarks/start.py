"""Seconds from the command to the first answer, with and without the optimised file.

    python -m lab.benchmarks.start [--rounds 5]

The files are in the page cache: a first start from a cold disk takes as long as reading them.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import grpc
from seldon_core.proto import prediction_pb2, prediction_pb2_grpc

from lab.benchmarks import machine, models, targets

TEXT = "This film is so good"


def once(make: Any) -> dict[str, float]:
    """Start a server; seconds until it is ready, and until REST and gRPC have answered."""
    target: targets.Target = make()
    with target.server as server:
        ready = server.wait_until_ready()
        target.ask(TEXT)
        rest = time.monotonic() - server.started_at
        _ask_grpc(target.grpc_port or 0)
        return {"ready_s": ready, "rest_s": rest, "grpc_s": time.monotonic() - server.started_at}


def _ask_grpc(port: int) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        message = prediction_pb2.SeldonMessage()
        message.data.ndarray.extend([TEXT])
        prediction_pb2_grpc.SeldonStub(channel).Predict(message, timeout=60, wait_for_ready=True)


def without_optimised_file(model: Path) -> Path:
    """The same model in a directory of its own, without derived files."""
    target = model.with_name(f"{model.name}-bare")
    if not target.exists():
        shutil.copytree(model, target, ignore=shutil.ignore_patterns(".cache"), copy_function=_link)
    return target


def _link(source: str, target: str) -> str:
    Path(target).hardlink_to(source)
    return target


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    base, default = models.base(), models.default()
    cases: dict[str, Any] = {}
    for name, model in (("default", default), ("base int8", base.int8), ("base fp32", base.fp32)):
        bare = without_optimised_file(model)
        cases[f"{name}, optimised file"] = lambda m=model, n=name: targets.ours(n, m)
        cases[f"{name}, original"] = lambda m=bare, n=name: targets.ours(n, m)
    cases["plain class, base int8 dynamic"] = lambda: targets.plain("plain", base.plain_int8)
    cases["plain class, base fp32"] = lambda: targets.plain("plain", base.export)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in cases}
    for number in range(asked.rounds):
        for name, make in cases.items():
            runs[name].append(once(make))
        print(f"round {number + 1} of {asked.rounds}", file=sys.stderr, flush=True)
    rows = {
        name: {
            key: round(statistics.median(run[key] for run in measured), 2) for key in measured[0]
        }
        for name, measured in runs.items()
    }
    path = machine.write("start", {"page_cache": "warm", "rounds": asked.rounds, "rows": rows})
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
