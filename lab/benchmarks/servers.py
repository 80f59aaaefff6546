"""This checkout's service against another commit's, or against the wrapper's own servers, in turn.

python -m lab.benchmarks.servers [--other CHECKOUT] [--rounds 5] [--seconds 4]

Requests a second at 1, 16 and 64 callers, over REST and gRPC, and the seconds until the service is
ready. Without --other the reference is the same code with the repairs `rest_server` and
`grpc_server` turned off: gunicorn's gthread and gRPC's threads.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.benchmarks import load, machine, models, targets, texts
from lab.benchmarks.served import wait_until_idle

CALLERS = (1, 16, 64)


def servers(other: Path | None) -> dict[str, dict[str, str]]:
    """Variables of the two services, in the order of the ratio."""
    if other is None:
        reference = {"SELDON_REPAIRS_OFF": "rest_server,grpc_server"}
    else:
        reference = {"PYTHONPATH": str(other.resolve())}
    return {"ours": {}, "reference": reference}


def ready_seconds(environment: Mapping[str, str]) -> float:
    """Seconds from the start of a service until it is ready."""
    target = targets.ours("ready", models.default(), **environment)
    start = time.monotonic()
    with target.server:
        target.server.wait()
        return time.monotonic() - start


def measure(
    services: Mapping[str, Mapping[str, str]], rounds: int, seconds: float
) -> dict[str, Any]:
    """Rates of both services over both protocols, alternating; medians and ratios."""
    rates: dict[tuple[str, str, int], list[float]] = {}
    found = texts.sentences(256)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(tempfile.NamedTemporaryFile("w", suffix=".txt"))
        file.write("\n".join(found))
        file.flush()
        running = {name: _start(stack, name, env) for name, env in services.items()}
        bodies = {name: target.write_bodies(found) for name, target in running.items()}
        for number in range(rounds):
            for callers in CALLERS:
                for name, target in list(running.items())[:: 1 if number % 2 else -1]:
                    rest = load.wrk(
                        target.url, bodies[name], concurrency=callers, seconds=seconds,
                        start=31 * number,
                    )  # fmt: skip
                    wait_until_idle(target.server.pids())
                    over_grpc = load.client(
                        "grpc", target.grpc_port or 0, concurrency=callers, seconds=seconds,
                        texts=Path(file.name),
                    )  # fmt: skip
                    wait_until_idle(target.server.pids())
                    for protocol, run in (("rest", rest), ("grpc", over_grpc)):
                        key = (protocol, name, callers)
                        rates.setdefault(key, []).append(run["requests_per_s"])
            print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return _summary(rates)


def _start(
    stack: contextlib.ExitStack, name: str, environment: Mapping[str, str]
) -> targets.Target:
    target = targets.ours(name, models.default(), **environment)
    stack.enter_context(target.server)
    target.server.wait()
    target.ask("This film is so good")
    return target


def _summary(rates: dict[tuple[str, str, int], list[float]]) -> dict[str, Any]:
    rows = []
    for protocol in ("rest", "grpc"):
        for callers in CALLERS:
            ours, theirs = (rates[protocol, name, callers] for name in ("ours", "reference"))
            ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
            rows.append(
                {
                    "protocol": protocol,
                    "callers": callers,
                    "ours_requests_per_s": statistics.median(ours),
                    "reference_requests_per_s": statistics.median(theirs),
                    "ratio": round(statistics.median(ratios), 3),
                    "rounds": [round(ratio, 3) for ratio in ratios],
                }
            )
    return {"rows": rows}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--other", type=Path, help="folder of another commit's checkout")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--name", default="servers")
    asked = parser.parse_args(arguments)
    services = servers(asked.other)
    ready: dict[str, list[float]] = {name: [] for name in services}
    for _ in range(asked.rounds):
        for name, environment in services.items():
            ready[name].append(ready_seconds(environment))
    result = measure(services, asked.rounds, asked.seconds)
    result["ready_s"] = {name: round(statistics.median(found), 2) for name, found in ready.items()}
    print(machine.write(asked.name, result).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
