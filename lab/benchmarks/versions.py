"""Texts a second of this checkout and of another commit's, without a server, in turn.

    python -m lab.benchmarks.versions --other CHECKOUT [--model DIRECTORY] [--rounds 20]

Both make the optimised file of the model for themselves, in a temporary directory of their own.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lab.benchmarks import machine, texts
from lab.benchmarks.contender import Contender, Row, play
from roberta_sentiment.model.artifact import DEFAULT_MODEL

SENTENCES, REVIEWS, DEV = 256, 32, 872


@contextlib.contextmanager
def prepared(folder: Path, model: Path) -> Iterator[Contender]:
    """A checkout's classifier on its own optimised file."""
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as stack:
        usual = os.environ.get("TMPDIR")
        os.environ["TMPDIR"] = temporary
        try:
            subprocess.run(
                [sys.executable, "-m", "roberta_sentiment", "optimize", str(model)],
                cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, check=True,
                stdout=subprocess.DEVNULL,
            )  # fmt: skip
            contender = stack.enter_context(Contender("ours", model, folder=folder))
        finally:
            os.environ.pop("TMPDIR") if usual is None else os.environ.update(TMPDIR=usual)
        yield contender


def compare(pair: tuple[Row, Row]) -> dict[str, Any]:
    """Rates of both, and the median of the ratios within a round."""
    ours, other = pair
    ratios = [b / a for a, b in zip(ours.seconds, other.seconds, strict=True)]
    quarter, half, three = statistics.quantiles(ratios, n=4)
    off = np.abs(ours.logits - other.logits)
    return {
        "row": ours.name,
        "texts_per_s": round(ours.texts_per_second, 1),
        "other_texts_per_s": round(other.texts_per_second, 1),
        "times": round(half, 3),
        "middle_half": [round(quarter, 3), round(three, 3)],
        "largest_logit_difference": round(float(off.max()), 6),
        "other_label": int((ours.logits.argmax(1) != other.logits.argmax(1)).sum()),
    }


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--other", type=Path, required=True, help="another commit's checkout")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--name", default="versions")
    asked = parser.parse_args()
    found = texts.sentences(SENTENCES)
    with contextlib.ExitStack() as stack:
        both = [
            stack.enter_context(prepared(folder.resolve(), asked.model.resolve()))
            for folder in (machine.ROOT, asked.other)
        ]
        cases: dict[str, tuple[dict[str, Any], list[str]]] = {
            f"{SENTENCES} sentences in one request": ({}, found),
            "one sentence after another": ({"alone": True}, found[:64]),
            f"{REVIEWS} reviews in one request": ({}, texts.reviews(REVIEWS)),
        }
        pairs = [
            (Row(name, both[0], *case), Row(name, both[1], *case)) for name, case in cases.items()
        ]
        play([row for pair in pairs for row in pair], asked.rounds)
        dev = (Row(f"all {DEV} sentences", both[0], {}, texts.sentences(DEV)),
               Row("", both[1], {}, texts.sentences(DEV)))  # fmt: skip
        play(dev, max(2, asked.rounds // 3))
    rows = [compare(pair) for pair in (*pairs, dev)]
    other = subprocess.run(
        ["git", "-C", str(asked.other), "rev-parse", "--short", "HEAD"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    print(machine.write(asked.name, {"other_commit": other, "rows": rows}).read_text("utf-8"))


if __name__ == "__main__":
    main()
