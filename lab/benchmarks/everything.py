"""All benchmarks, one after another, then the pages and the pictures; less than two hours.

    python -m lab.benchmarks.everything [--minutes 30]

Run it on a machine that does nothing else. What fails is named at the end; the rest still runs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from lab.benchmarks.machine import ROOT

COMMANDS = (
    "in_process",
    "ablation",
    "ablation --texts mixed --only int8 --no-sweeps",
    "cost",
    "overhead",
    "metrics_cost",
    "start",
    "memory",
    "served",
    "served --texts mixed",
    "served --model default",
    "oip",
    "workers",
    "workers --model default",
    "served_ablation --model default",
    "overload",
    "overload --model default",
    "batch",
    "batch memory",
    "batch alone",
)
LAST = ("pages", "picture")


def main() -> int:
    """Run them; 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="of the soak")
    asked = parser.parse_args()
    failed = []
    for command in (*COMMANDS, f"soak --minutes {asked.minutes:g}", *LAST):
        start = time.monotonic()
        words = command.split()
        run = [sys.executable, "-m", f"lab.benchmarks.{words[0]}", *words[1:]]
        done = subprocess.run(run, cwd=ROOT, stdout=subprocess.DEVNULL)
        print(f"{command}: {done.returncode}, {time.monotonic() - start:.0f} s", flush=True)
        if done.returncode:
            failed.append(command)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
