"""This checkout's service against another commit's, or against the wrapper's own servers, in turn.

python -m lab.benchmarks.servers [--other CHECKOUT | --first] [--rounds 20] [--seconds 1]

Requests a second and processor time a request at 1, 16 and 64 callers, over REST and gRPC, in short
windows that alternate between the two, and the seconds until the service is ready. The ratios are
medians of the pairs of neighbouring windows. Without --other the reference is this checkout without
the repairs `rest_server` and `grpc_server`: gunicorn's gthread and gRPC's threads. With --first it
is this checkout with a prepared file, as in the image, and ours finds none at its start.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.benchmarks import load, machine, models, targets, texts
from lab.benchmarks.environments import python_of
from lab.benchmarks.machine import ROOT
from lab.benchmarks.served import wait_until_idle
from lab.benchmarks.usage import cpu_seconds
from scripts.serve import image_environment

CALLERS = (1, 16, 64)
PROTOCOLS = ("rest", "grpc")
EMPTY = "(empty)"
"""Stands for a folder of its own at each start."""

Ask = Callable[[int, float], dict[str, Any]]
"""Asks with so many callers for so many seconds; the run as `load.describe` has it."""


@dataclasses.dataclass(frozen=True)
class Window:
    """What one window showed."""

    requests_per_s: float
    cpu_ms_a_request: float


def servers(other: Path | None, first: bool, folder: Path) -> dict[str, dict[str, str]]:
    """Variables of the two services, in the order of the ratio.

    Args:
        other: checkout of another commit.
        first: compare a start without a prepared file with one that finds it.
        folder: empty, for the prepared files of the reference: another commit's have another form.
    """
    if other is None and not first:
        return {"ours": {}, "reference": {"SELDON_REPAIRS_OFF": "rest_server,grpc_server"}}
    checkout = other.resolve() if other else ROOT
    reference = {"TMPDIR": str(folder), "PYTHONPATH": str(checkout)}
    subprocess.run(
        [str(python_of("server")), "-m", "seldon_node.prepare"],
        cwd=checkout,
        env={**os.environ, **image_environment(), **reference, "MODEL_URI": str(models.default())},
        check=True,
    )
    return {"ours": {"TMPDIR": EMPTY} if first else {}, "reference": reference}


def ready_seconds(environment: Mapping[str, str]) -> float:
    """Seconds from the start of a service until it is ready."""
    with contextlib.ExitStack() as stack:
        target = _target(stack, "ready", environment)
        start = time.monotonic()
        stack.enter_context(target.server)
        target.server.wait_until_ready()
        return time.monotonic() - start


def measure(
    services: Mapping[str, Mapping[str, str]],
    rounds: int,
    seconds: float,
    protocols: Sequence[str] = PROTOCOLS,
    callers_tried: Sequence[int] = CALLERS,
) -> dict[str, Any]:
    """Rates of both services over both protocols, in short windows that alternate.

    What else the machine does changes more slowly, so that it weighs on both windows of a pair.
    """
    windows: dict[tuple[str, str, int], list[Window]] = {}
    found = texts.sentences(256)
    with contextlib.ExitStack() as stack:
        running = {name: _start(stack, name, env) for name, env in services.items()}
        asks = {
            (protocol, name): ask
            for name, target in running.items()
            for protocol, ask in (
                ("rest", _rest(target, found)),
                ("grpc", _grpc(target, found)),
            )
        }
        for number in range(rounds):
            for protocol in protocols:
                for callers in callers_tried:
                    for name, target in list(running.items())[:: 1 if number % 2 else -1]:
                        window = _window(target, asks[protocol, name], callers, seconds)
                        windows.setdefault((protocol, name, callers), []).append(window)
            print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return _summary(windows)


def _target(
    stack: contextlib.ExitStack, name: str, environment: Mapping[str, str]
) -> targets.Target:
    """A service; each that begins without derived files gets a folder of its own for them."""
    if environment.get("TMPDIR") == EMPTY:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        environment = {**environment, "TMPDIR": folder}
    return targets.ours(name, models.default(), **environment)


def _start(
    stack: contextlib.ExitStack, name: str, environment: Mapping[str, str]
) -> targets.Target:
    target = _target(stack, name, environment)
    stack.enter_context(target.server)
    target.server.wait_until_ready()
    target.ask("This film is so good")
    return target


def _rest(target: targets.Target, found: list[str]) -> Ask:
    bodies = target.write_bodies(found)
    return lambda callers, seconds: load.wrk(
        target.url, bodies, concurrency=callers, seconds=seconds
    )


def _grpc(target: targets.Target, found: list[str]) -> Ask:
    requests = [load.Grpc.encode(text) for text in found]

    def ask(callers: int, seconds: float) -> dict[str, Any]:
        start = time.perf_counter()
        answers = asyncio.run(
            load.closed_loop(
                lambda: load.Grpc(target.grpc_port or 0),
                requests,
                concurrency=callers,
                seconds=seconds,
            )
        )
        return load.describe(answers, time.perf_counter() - start)

    return ask


def _window(target: targets.Target, ask: Ask, callers: int, seconds: float) -> Window:
    pids = target.server.processes()
    before = cpu_seconds(pids)
    run = ask(callers, seconds)
    wait_until_idle(pids)
    used = cpu_seconds(pids) - before
    return Window(run["requests_per_s"], used / max(1, run["requests"]) * 1000)


def _summary(windows: Mapping[tuple[str, str, int], Sequence[Window]]) -> dict[str, Any]:
    rows = []
    for protocol, callers in dict.fromkeys((protocol, callers) for protocol, _, callers in windows):
        ours, theirs = (windows[protocol, name, callers] for name in ("ours", "reference"))
        row: dict[str, Any] = {"protocol": protocol, "callers": callers}
        for field in dataclasses.fields(Window):
            pairs = [
                (getattr(a, field.name), getattr(b, field.name))
                for a, b in zip(ours, theirs, strict=True)
            ]
            quarter, half, three = statistics.quantiles([a / b for a, b in pairs], n=4)
            row[field.name] = {
                "ours": round(statistics.median(a for a, _ in pairs), 3),
                "reference": round(statistics.median(b for _, b in pairs), 3),
                "ratio": round(half, 3),
                "middle_half_of_ratios": [round(quarter, 3), round(three, 3)],
            }
        rows.append(row)
    return {"pairs": len(next(iter(windows.values()))), "rows": rows}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--other", type=Path, help="folder of another commit's checkout")
    parser.add_argument("--first", action="store_true", help="compare with a prepared start")
    parser.add_argument("--rounds", type=int, default=20, help="pairs of windows of each kind")
    parser.add_argument("--seconds", type=float, default=1, help="of a window")
    parser.add_argument("--starts", type=int, default=5, help="starts of each service")
    parser.add_argument("--protocols", nargs="+", choices=PROTOCOLS, default=PROTOCOLS)
    parser.add_argument("--callers", nargs="+", type=int, default=CALLERS)
    parser.add_argument("--name", default="servers")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        services = servers(asked.other, asked.first, Path(folder))
        ready: dict[str, list[float]] = {name: [] for name in services}
        for _ in range(asked.starts):
            for name, environment in services.items():
                ready[name].append(ready_seconds(environment))
        result = measure(services, asked.rounds, asked.seconds, asked.protocols, asked.callers)
    result["ready_s"] = {name: round(statistics.median(found), 2) for name, found in ready.items()}
    print(machine.write(asked.name, result).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
