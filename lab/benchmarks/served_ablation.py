"""What each part of the way over the wire gave: the service, and the service without one part.

python -m lab.benchmarks.served_ablation [--model base|default] [--rounds 3]
"""

from __future__ import annotations

import argparse
import contextlib

from lab.benchmarks import machine, models, served, targets, texts
from lab.benchmarks.contenders.without import PARTS


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=("base", "default"), default="base")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4)
    asked = parser.parse_args()
    model = models.base().int8 if asked.model == "base" else models.default()
    found = texts.sentences(served.TEXTS)
    running = [targets.ours("ours", model)] + [
        targets.seldon(
            f"without {part}",
            "lab.benchmarks.contenders.without.WithoutModel",
            MODEL_URI=str(model),
            WITHOUT=part,
        )
        for part in PARTS
    ]
    with contextlib.ExitStack() as stack:
        for target in running:
            stack.enter_context(target.server)
            target.server.wait_until_ready()
            target.ask(found[0])
        table = served.measure(running, found, rounds=asked.rounds, seconds=asked.seconds)
    result = {"model": asked.model, "texts": texts.source(), "rows": table}
    print(machine.write(f"served_ablation_{asked.model}", result).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
