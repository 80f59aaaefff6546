"""Workers against threads: the same service set in different ways, REST, one text a request.

python -m lab.benchmarks.workers [--model base|default] [--texts sentences|mixed]
"""

from __future__ import annotations

import argparse
import contextlib
from typing import Any

from lab.benchmarks import machine, models, served, targets, texts
from lab.benchmarks.usage import memory_mb

SETTINGS: dict[str, dict[str, str]] = {
    "as shipped": {},
    "1 worker, 1 run thread": {"SENTIMENT_THREADS": "1"},
    "2 workers, 1 run thread each": {"GUNICORN_WORKERS": "2", "SENTIMENT_THREADS": "1"},
    "2 workers, 2 run threads each": {"GUNICORN_WORKERS": "2", "SENTIMENT_THREADS": "2"},
    "2 workers, 1 run thread, 1 request thread": {
        "GUNICORN_WORKERS": "2",
        "SENTIMENT_THREADS": "1",
        "GUNICORN_THREADS": "1",
    },
    "exclusive CPUs": served.EXCLUSIVE,
    "2 workers, 1 run thread each, exclusive CPUs": {
        "GUNICORN_WORKERS": "2",
        "SENTIMENT_THREADS": "1",
        **served.EXCLUSIVE,
    },
    "8 request threads": {"GUNICORN_THREADS": "8"},
    "16 request threads": {"GUNICORN_THREADS": "16"},
}


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=("base", "default"), default="base")
    parser.add_argument("--texts", choices=("sentences", "mixed"), default="sentences")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--set", action="append", default=[], help="NAME=VALUE[,NAME=VALUE...]")
    parser.add_argument("--name", default="")
    asked = parser.parse_args()
    model = models.base().int8 if asked.model == "base" else models.default()
    found = getattr(texts, asked.texts)(served.TEXTS)
    settings = dict(SETTINGS)
    if asked.set:
        settings = {"as shipped": {}} | {
            entry: dict(pair.split("=", 1) for pair in entry.split(",")) for entry in asked.set
        }
    with contextlib.ExitStack() as stack:
        running = []
        for name, environment in settings.items():
            target = targets.ours(name, model, **environment)
            stack.enter_context(target.server)
            target.server.wait_until_ready()
            running.append(target)
        table = served.measure(running, found, rounds=asked.rounds, seconds=asked.seconds)
        memory: dict[str, Any] = {
            t.name: round(sum(memory_mb(pid)["pss"] for pid in t.server.processes()), 1)
            for t in running
        }
    result = {"settings": settings, "rows": table, "pss_mb": memory}
    name = asked.name or f"workers_{asked.model}_{asked.texts}"
    print(machine.write(name, result).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
