"""Requests a second and latency over the wire, one text a request: ours and what others use.

python -m lab.benchmarks.served [--model base|default] [--texts sentences|mixed] [--rounds 3]
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lab.benchmarks import load, machine, models, targets, texts
from lab.benchmarks.contender import Contender
from lab.benchmarks.environments import MissingEnvironmentError
from lab.benchmarks.usage import cpu_seconds
from scripts.local_service import ServerError

CONCURRENCY = (1, 4, 16, 64)
TEXTS, CHECKED = 256, 64
_IDLE_S, _IDLE_SHARE, _IDLE_TRIES = 0.25, 0.1, 240
EXCLUSIVE = {"SENTIMENT_EXCLUSIVE_CPUS": "true"}
Measured = dict[str, Any]


def start_all(
    stack: contextlib.ExitStack, model: str, only: Sequence[str]
) -> tuple[list[targets.Target], dict[str, str]]:
    """Start what can be started; the servers, and why others could not be."""
    base = models.base() if model == "base" else None
    fp32, int8 = (base.fp32, base.int8) if base else (None, models.default())
    wanted: dict[str, Any] = {
        "plain class, int8": lambda name: targets.plain(name, int8),
        "plain class, int8, 4 threads": lambda name: targets.plain(name, int8, 4),
        "ours, int8, exclusive CPUs": lambda name: targets.ours(name, int8, **EXCLUSIVE),
        "ours, int8": lambda name: targets.ours(name, int8),
        "ours on MLServer, int8": lambda name: targets.ours_oip(name, int8),
    }
    if base and fp32:
        wanted |= {
            "plain class, int8 dynamic": lambda name: targets.plain(name, base.plain_int8),
            "plain class, fp32": lambda name: targets.plain(name, base.export),
            "ours, fp32": lambda name: targets.ours(name, fp32),
            "ours on MLServer, fp32": lambda name: targets.ours_oip(name, fp32),
            "plain class, OpenVINO int8, 16 threads": lambda name: targets.openvino(
                name, base.export, "THROUGHPUT", 16
            ),
            "plain class, OpenVINO int8, latency": lambda name: targets.openvino(
                name, base.export, "LATENCY", 1
            ),
            "infinity-emb, fp32": lambda name: targets.infinity(name, base.export),
            "MLServer, fp32": lambda name: targets.mlserver(name, base.export),
        }
    running, failed = [], {}
    for name, start in wanted.items():
        if only and not any(word in name for word in only):
            continue
        try:
            target = start(name)
            stack.enter_context(target.server)
            target.server.wait_until_ready()
            target.ask("This film is so good")
            running.append(target)
        except (MissingEnvironmentError, ServerError, OSError, LookupError, ValueError) as error:
            failed[name] = machine.errors_in(str(error))
        print(f"{name}: {failed.get(name, 'ready')}", file=sys.stderr, flush=True)
    return running, failed


def in_process_ms(contender: Contender, found: Sequence[str]) -> float:
    """p50 of one text after another without a server, ms."""
    times = [contender.ask([text], {})[0] for text in [*found[:20], *found]]
    return statistics.median(times[20:]) * 1000


def measure(
    running: Sequence[targets.Target],
    found: list[str],
    *,
    rounds: int,
    seconds: float,
    concurrencies: Sequence[int] = CONCURRENCY,
    before_round: Callable[[], None] = lambda: None,
) -> list[Measured]:
    """All servers in turn, at every concurrency, several times; medians."""
    bodies = {target.name: target.write_bodies(found) for target in running}
    runs: dict[tuple[str, int], list[Measured]] = {}
    for number in range(rounds):
        before_round()
        for concurrency in concurrencies:
            for target in running if number % 2 else running[::-1]:
                pids = target.server.processes()
                before = cpu_seconds(pids)
                run = load.wrk(
                    target.url, bodies[target.name],
                    concurrency=concurrency, seconds=seconds, start=31 * number,
                )  # fmt: skip
                run["cpu_ms_a_request"] = (
                    (cpu_seconds(pids) - before) / max(1, run["requests"]) * 1000
                )
                runs.setdefault((target.name, concurrency), []).append(run)
                wait_until_idle(pids)
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return [
        {"server": name, "concurrency": concurrency, **_medians(measured)}
        for (name, concurrency), measured in sorted(runs.items())
    ]


def wait_until_idle(pids: Sequence[int]) -> None:
    """Let a server finish what its client no longer waits for, beside which others would be slow.

    Raises:
        ServerError: it still works after a minute.
    """
    for _ in range(_IDLE_TRIES):
        before = cpu_seconds(pids)
        time.sleep(_IDLE_S)
        if cpu_seconds(pids) - before < _IDLE_SHARE * _IDLE_S:
            return
    raise ServerError("the server does not come to rest")


def _medians(runs: Sequence[Measured]) -> Measured:
    middle = {
        key: round(statistics.median(run[key] for run in runs), 3)
        for key in ("requests_per_s", "p50_ms", "p90_ms", "p99_ms", "cpu_ms_a_request")
    }
    worst = {key: sum(run[key] for run in runs) for key in ("not_2xx", "broken")}
    return {**middle, **worst, "rounds_requests_per_s": [run["requests_per_s"] for run in runs]}


def rest_and_grpc(target: targets.Target, found: list[str], rounds: int) -> dict[str, Any]:
    """Both protocols of one server with the same client, in turn."""
    rates: dict[str, list[float]] = {}
    latencies: dict[str, list[float]] = {}
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(found))
        file.flush()
        for _ in range(rounds):
            for kind in ("rest", "grpc"):
                port = int(target.url.split(":")[2].split("/")[0])
                port = port if kind == "rest" else target.grpc_port or 0
                for concurrency in (1, 16):
                    run = load.client(
                        kind, port, concurrency=concurrency, seconds=4, texts=Path(file.name)
                    )
                    name = f"{kind} at {concurrency}"
                    rates.setdefault(name, []).append(run["requests_per_s"])
                    latencies.setdefault(name, []).append(run["p50_ms"])
    return {
        name: {
            "requests_per_s": statistics.median(rates[name]),
            "p50_ms": statistics.median(latencies[name]),
        }
        for name in rates
    }


def differences(running: Sequence[targets.Target], found: Sequence[str]) -> dict[str, Any]:
    """Largest difference of the positive class's probability to the first fp32 server, or ours."""
    scores = {t.name: np.array([t.ask(text) for text in found]) for t in running}
    reference = next((n for n in scores if n == "plain class, fp32"), None) or running[-1].name
    return {
        "to": reference,
        "largest": {
            name: round(float(np.abs(values - scores[reference]).max()), 5)
            for name, values in scores.items()
        },
    }


def ratios(table: Sequence[Measured]) -> dict[str, float]:
    """Ours against each other server of the same precision, at each concurrency."""
    rate = {(row["server"], row["concurrency"]): row["requests_per_s"] for row in table}
    ours = {name for name, _ in rate if name.startswith("ours")}
    return {
        f"{mine} to {name}, at {concurrency}": round(rate[mine, concurrency] / value, 2)
        for (name, concurrency), value in rate.items()
        for mine in sorted(ours)
        if name not in ours and value and ("fp32" in name) == ("fp32" in mine)
    }


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=("base", "default"), default="base")
    parser.add_argument("--texts", choices=("sentences", "mixed"), default="sentences")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--only", default="")
    parser.add_argument("--name", default="")
    asked = parser.parse_args()
    found = getattr(texts, asked.texts)(TEXTS)
    int8 = models.base().int8 if asked.model == "base" else models.default()
    only = [word for word in asked.only.split(";") if word]
    with contextlib.ExitStack() as stack:
        running, failed = start_all(stack, asked.model, only)
        contender = stack.enter_context(Contender("ours", int8))
        alone_ms: list[float] = []
        table = measure(
            running,
            found,
            rounds=asked.rounds,
            seconds=asked.seconds,
            before_round=lambda: alone_ms.append(in_process_ms(contender, found)),
        )
        result: dict[str, Any] = {
            "model": asked.model,
            "texts": f"{TEXTS}, {asked.texts}, {texts.source()}",
            "in_process_p50_ms": round(statistics.median(alone_ms), 3),
            "rows": table,
            "ratios": ratios(table),
            "differences": differences(running, found[:CHECKED]),
            "not_started": failed,
        }
        mine = next((t for t in running if t.name == "ours, int8"), None)
        if mine:
            result["ours_rest_and_grpc_same_client"] = rest_and_grpc(mine, found, asked.rounds)
        # Before the servers end: the wrapper does not always end a plain class.
        name = asked.name or f"served_{asked.model}_{asked.texts}"
        print(machine.write(name, result).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
