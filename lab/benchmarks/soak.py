"""Mixed-length traffic for a long time: does memory grow, does anything fail?

    python -m lab.benchmarks.soak [--minutes 30] [--model default] [--oip] [--callers 8]

Callers in a closed loop, one text a request, a quarter of them over gRPC; the memory of every
process, every ten seconds. The result holds the curve; docs/soak.svg shows it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from lab.benchmarks import load, machine, models, picture, targets, texts
from lab.benchmarks.usage import memory_mb

EVERY_S = 10
Sample = dict[str, Any]


async def soak(
    target: targets.Target, callers: dict[str, int], minutes: float
) -> tuple[list[Sample], Counter[str]]:
    """Send requests and sample memory.

    Args:
        target: the server.
        callers: how many of each transport.
        minutes: how long.

    Returns:
        Samples and the number of each outcome.
    """
    rest_port = int(target.url.split(":")[2].split("/")[0])
    ports = {kind: target.grpc_port or 0 if "grpc" in kind else rest_port for kind in callers}
    samples: list[Sample] = []
    outcomes: Counter[str] = Counter()
    until = time.perf_counter() + minutes * 60
    start = time.perf_counter()
    seed = 0
    while (now := time.perf_counter()) < until:
        found = texts.mixed(512, seed=seed)
        seed += 1
        seconds = min(EVERY_S, until - now)
        answers = await asyncio.gather(
            *(_callers(kind, ports[kind], found, n, seconds) for kind, n in callers.items())
        )
        for kind, given in zip(callers, answers, strict=True):
            outcomes.update(f"{kind} {answer.status}" for answer in given)
        elapsed = time.perf_counter() - start
        samples.append(
            _sample(target, elapsed, [*itertools.chain(*answers)], time.perf_counter() - now)
        )
    return samples, outcomes


async def _callers(
    kind: str, port: int, found: Sequence[str], concurrency: int, seconds: float
) -> list[load.Answer]:
    transport = load.TRANSPORTS[kind]
    encoded = [transport.encode(text) for text in found]
    return await load.closed_loop(
        lambda: transport(port), encoded, concurrency=concurrency, seconds=seconds
    )


def _sample(
    target: targets.Target, elapsed: float, answers: Sequence[load.Answer], seconds: float
) -> Sample:
    used = [memory_mb(pid) for pid in target.server.processes()]
    return {
        "s": round(elapsed, 1),
        "requests_per_s": round(len(answers) / seconds, 1),
        "p99_ms": round(load.percentile([a.seconds * 1000 for a in answers], 99), 1),
        "pss_mb": round(sum(entry["pss"] for entry in used), 1),
        "largest_rss_mb": max(entry["rss"] for entry in used),
        "processes": len(used),
    }


def growth(samples: Sequence[Sample]) -> dict[str, float]:
    """Memory after the first tenth, at the end, and the slope of the second half."""
    second = samples[len(samples) // 2 :]
    hours = [sample["s"] / 3600 for sample in second]
    slope = statistics.linear_regression(hours, [s["pss_mb"] for s in second]).slope
    early, late = samples[len(samples) // 10 :][:3], samples[-3:]
    return {
        "after_a_tenth_mb": round(statistics.mean(s["pss_mb"] for s in early), 1),
        "at_the_end_mb": round(statistics.mean(s["pss_mb"] for s in late), 1),
        "slope_of_second_half_mb_per_hour": round(slope, 2),
    }


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--model", choices=("base", "default"), default="default")
    parser.add_argument("--oip", action="store_true", help="the Open Inference Protocol")
    parser.add_argument("--callers", type=int, default=8)
    asked = parser.parse_args()
    model = models.base().int8 if asked.model == "base" else models.default()
    target = (targets.ours_oip if asked.oip else targets.ours)("ours", model)
    over_grpc = max(1, asked.callers // 4)
    prefix = "oip-" if asked.oip else ""
    callers = {f"{prefix}rest": asked.callers - over_grpc, f"{prefix}grpc": over_grpc}
    with target.server as server:
        server.wait_until_ready()
        samples, outcomes = asyncio.run(soak(target, callers, asked.minutes))
    result = {
        "model": asked.model,
        "minutes": asked.minutes,
        "callers": callers,
        "outcomes": dict(outcomes),
        "growth": growth(samples),
        "samples": samples,
    }
    path = machine.write("soak_oip" if asked.oip else "soak", result)
    if not asked.oip:
        picture.soak(result)
    print({key: value for key, value in result.items() if key != "samples"}, path)


if __name__ == "__main__":
    main()
