"""More than the server can do: what is accepted stays quick, the rest is refused at once.

    python -m lab.benchmarks.overload [--model base|default] [--oip] [--grpc] [--factor 2]
        [--seconds 30] [--words N]

A refusal's time is the client's, from the first byte that it sends; over REST the server's share is
there, too: from the last byte of a request until the kernel of this machine has the answer's first.
Every request has a number of its own (puid). Each must be answered exactly once, with its own
number and the scores of its own text, or be refused; the server must have counted as many texts.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import requests
from prometheus_client.parser import text_string_to_metric_families

from lab.benchmarks import load, machine, models, targets, texts

TEXTS = 128
_TOLERANCE = 2e-3


def counted_texts(port: int) -> int:
    """Texts that the server says it has scored."""
    page = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    return int(
        sum(
            sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name == "sentiment_texts_total"
        )
    )


async def capacity(
    transport: load.Kind, port: int, found: Sequence[str], concurrency: int, seconds: float
) -> float:
    """Requests a second of a closed loop."""
    encoded = [transport.encode(text) for text in found]
    start = time.perf_counter()
    answers = await load.closed_loop(
        lambda: transport(port), encoded, concurrency=concurrency, seconds=seconds
    )
    return sum(a.status == 200 for a in answers) / (time.perf_counter() - start)


async def flood(
    transport: load.Kind, port: int, found: Sequence[str], rate: float, seconds: float
) -> list[load.Answer]:
    """Open loop; request number i asks for text i modulo n and has the number i."""
    numbers = range(int(rate * seconds))
    encoded = [transport.encode(found[i % len(found)], f"request-{i}") for i in numbers]
    gc.disable()  # a collection here would be a stop of the client, and look like one of the server
    try:
        async with load.Pool(lambda: transport(port)) as pool:
            return await load.open_loop(pool.send, encoded, rate=rate, seconds=seconds)
    finally:
        gc.enable()


def check(
    transport: load.Kind, answers: Sequence[load.Answer], expected: Sequence[float]
) -> dict[str, int]:
    """How many answers were not what their request asked for."""
    wrong: Counter[str] = Counter(lost=0, of_another_request=0, wrong_scores=0, no_retry_reason=0)
    for number, answer in enumerate(answers):
        wrong["lost"] += answer.status not in (200, 503)
        if answer.status == 200:
            puid, score = transport.decode(answer.body)
            wrong["of_another_request"] += puid != f"request-{number}"
            off = score - expected[number % len(expected)]
            wrong["wrong_scores"] += abs(off) > _TOLERANCE
        if answer.status == 503:
            wrong["no_retry_reason"] += b"try again in" not in answer.body
    return dict(wrong)


def run(
    target: targets.Target,
    transport: load.Kind,
    found: Sequence[str],
    factor: float,
    seconds: float,
) -> dict[str, Any]:
    """Measure the capacity, then flood the server."""
    expected = [target.ask(text) for text in found]
    rest_port = int(target.url.split(":")[2].split("/")[0])
    port = target.grpc_port or 0 if issubclass(transport, load.Grpc) else rest_port
    metrics_port = target.metrics_port or 0
    able = asyncio.run(capacity(transport, port, found, 16, 8))
    before = counted_texts(metrics_port)
    answers = asyncio.run(flood(transport, port, found, able * factor, seconds))
    accepted = [a.seconds * 1000 for a in answers if a.status == 200]
    refused = [a.seconds * 1000 for a in answers if a.status == 503]
    by_server = [a.server_s * 1000 for a in answers if a.status == 503 and a.server_s is not None]
    late = [a.late_s * 1000 for a in answers]
    return {
        "capacity_per_s": round(able, 1),
        "sent_per_s": round(able * factor, 1),
        "answered_per_s": round(len(accepted) / seconds, 1),
        "sent": len(answers),
        "answered": len(accepted),
        "refused": len(refused),
        "statuses": {str(k): v for k, v in Counter(a.status for a in answers).items()},
        "counted_by_the_server": counted_texts(metrics_port) - before,
        "accepted_ms": _spread(accepted),
        "refused_ms": _spread(refused),
        "refused_server_ms": _spread(by_server) if by_server else None,
        "client_late_ms": _spread(late),
        "wrong": check(transport, answers, expected),
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {
        **{f"p{n}": round(load.percentile(values, n), 2) for n in (50, 90, 99, 99.9)},
        "max": round(max(values, default=float("nan")), 2),
    }


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=("base", "default"), default="base")
    parser.add_argument("--factor", type=float, default=2)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--set", action="append", default=[], help="NAME=VALUE for the server")
    parser.add_argument("--oip", action="store_true", help="the Open Inference Protocol")
    parser.add_argument("--grpc", action="store_true", help="in place of REST")
    parser.add_argument("--words", type=int, help="of a text; so few that Python is the limit")
    asked = parser.parse_args()
    found = [" ".join(text.split()[: asked.words]) for text in texts.mixed(TEXTS)]
    model = models.base().int8 if asked.model == "base" else models.default()
    environment = dict(entry.split("=", 1) for entry in asked.set)
    make = targets.ours_oip if asked.oip else targets.ours
    target = make("ours", model, **environment)
    kind = f"{'oip-' if asked.oip else ''}{'grpc' if asked.grpc else 'rest'}"
    transport = load.TRANSPORTS[kind]
    with target.server as server:
        server.wait_until_ready()
        result = run(target, transport, found, asked.factor, asked.seconds)
    path = machine.write(
        f"overload_{'oip' if asked.oip else asked.model}{'_grpc' if asked.grpc else ''}"
        f"{'_short' if asked.words else ''}",
        {
            "transport": kind,
            "model": asked.model,
            "factor": asked.factor,
            "settings": environment,
            **result,
        },
    )
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
