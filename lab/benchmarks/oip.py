"""The Open Inference Protocol: ours on MLServer, its own Hugging Face runtime, and our Seldon door.

    python -m lab.benchmarks.oip [--rounds 3] [--seconds 4]

All serve the embedded model, one sentence a request; the Hugging Face runtime serves the checkpoint
that it was made from by PyTorch, as it does by default, and the int8 file by Optimum. Beside the
rates: the memory of each service after that, and how long its REST server takes for a liveness
probe, which needs nothing but its event loop, when it is idle and while 16 callers wait.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import requests

from lab.benchmarks import load, machine, models, served, targets, texts
from lab.benchmarks.contender import Contender
from lab.benchmarks.usage import memory_mb

CONCURRENCY = (1, 16)
OURS, THEIRS, SELDON = "ours on MLServer", "MLServer's Hugging Face runtime", "ours on Seldon"
BATCHES: dict[str, Any] = {"max_batch_size": 16, "max_batch_time": 0.005}
_PROBES_PER_S = 20
_IDLE_S = 2.0


def servers(model: Path) -> list[targets.Target]:
    """What is compared: one network, in float32 for PyTorch, else in the same int8 file."""
    checkpoint = models.default_checkpoint()
    return [
        targets.ours_oip(OURS, model),
        targets.ours_oip(f"{OURS}, parallel_workers 2", model, parallel_workers=2),
        targets.ours(SELDON, model),
        targets.mlserver(f"{THEIRS}, PyTorch", checkpoint, optimum=False),
        targets.mlserver(f"{THEIRS}, our ONNX file", model),
        targets.mlserver(f"{THEIRS}, our ONNX file, batches", model, **BATCHES),
    ]


def liveness(target: targets.Target) -> str:
    """URL that answers while the event loop turns; of the Seldon door, its ping."""
    base = target.url.partition("/v2/")[0].partition("/api/")[0]
    return base + ("/health/ping" if target.name == SELDON else "/v2/health/live")


@contextlib.contextmanager
def probing(url: str, found: list[float]) -> Iterator[None]:
    """Ask a URL several times a second over one connection; append milliseconds."""
    over = threading.Event()

    def probe() -> None:
        with requests.Session() as session:
            while not over.wait(1 / _PROBES_PER_S):
                start = time.perf_counter()
                session.get(url, timeout=60).raise_for_status()
                found.append((time.perf_counter() - start) * 1000)

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def lag(target: targets.Target, found: list[str], seconds: float) -> dict[str, dict[str, float]]:
    """Milliseconds of a liveness probe: idle, and beside 16 callers."""
    idle: list[float] = []
    loaded: list[float] = []
    with probing(liveness(target), idle):
        time.sleep(_IDLE_S)
    bodies = target.write_bodies(found)
    with probing(liveness(target), loaded):
        load.wrk(target.url, bodies, concurrency=CONCURRENCY[-1], seconds=seconds)
    served.wait_until_idle(target.server.processes())
    return {"idle": _spread(idle), "loaded": _spread(loaded)}


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "p50_ms": round(statistics.median(values), 2),
        "p99_ms": round(load.percentile(values, 99), 2),
        "max_ms": round(max(values), 2),
    }


def grpc_rates(target: targets.Target, found: Sequence[str], seconds: float) -> dict[str, Any]:
    """What our asyncio client gets over gRPC, at each concurrency."""
    transport = "grpc" if target.name == SELDON else "oip-grpc"
    path = Path(target.write_bodies([]))
    path.write_text("\n".join(found), encoding="utf-8")
    return {
        str(concurrency): load.client(
            transport, target.grpc_port or 0, concurrency=concurrency, seconds=seconds, texts=path
        )
        for concurrency in CONCURRENCY
    }


def memory(target: targets.Target) -> dict[str, float]:
    """Of all processes of a service; PSS counts a shared page once."""
    used = [memory_mb(pid) for pid in target.server.processes()]
    return {"processes": len(used), "pss_mb": round(sum(entry["pss"] for entry in used), 1)}


def other_labels(running: Sequence[targets.Target], found: Sequence[str]) -> dict[str, int]:
    """How many texts each server labels otherwise than ours."""
    labels = {t.name: [t.ask(text) > 0.5 for text in found] for t in running}
    return {
        name: sum(a != b for a, b in zip(given, labels[OURS], strict=True))
        for name, given in labels.items()
    }


def ratios(rows: Sequence[served.Measured]) -> dict[str, float]:
    """Ours on MLServer against each other server, at each concurrency."""
    rate = {(row["server"], row["concurrency"]): row["requests_per_s"] for row in rows}
    return {
        f"to {name}, at {concurrency}": round(rate[OURS, concurrency] / value, 2)
        for (name, concurrency), value in rate.items()
        if name != OURS and value
    }


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4)
    asked = parser.parse_args()
    found = texts.sentences(served.TEXTS)
    model = models.default()
    alone_ms: list[float] = []
    with contextlib.ExitStack() as stack:
        running = servers(model)
        for target in running:
            stack.enter_context(target.server)
            target.server.wait_until_ready()
            target.ask(found[0])
            print(f"{target.name}: ready", file=sys.stderr, flush=True)
        contender = stack.enter_context(Contender("ours", model))
        rows = served.measure(
            running,
            found,
            rounds=asked.rounds,
            seconds=asked.seconds,
            concurrencies=CONCURRENCY,
            before_round=lambda: alone_ms.append(served.in_process_ms(contender, found)),
        )
        result = {
            "texts": f"{served.TEXTS}, sentences, {texts.source()}",
            "in_process_p50_ms": round(statistics.median(alone_ms), 3),
            "rows": rows,
            "ratios": ratios(rows),
            "grpc": {t.name: grpc_rates(t, found, asked.seconds) for t in (running[0], running[2])},
            "loop_lag": {t.name: lag(t, found, asked.seconds) for t in running},
            "memory": {t.name: memory(t) for t in running},
            "labels_other_than_ours": other_labels(running, found[: served.CHECKED]),
        }
    print(machine.write("oip", result).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
