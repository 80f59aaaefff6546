"""What each optimisation gave, and each setting, one change at a time; base size, no server.

python -m lab.benchmarks.ablation [--rounds 5] [--only int8]
"""

from __future__ import annotations

import argparse
import contextlib
from typing import Any

import numpy as np

from lab.benchmarks import machine, models, texts
from lab.benchmarks.contender import Contender, Row, play

BUDGETS = (64, 128, 256, 384, 512, 768, 1024, 2048, 4096)
ATTENTION_PAIRS = (0, 500, 1_500, 3_000, 6_000, 12_000, 24_000, 300_000)
TEXTS = 256
_SPIN = "session.intra_op."
SESSION: dict[str, dict[str, str]] = {
    "asleep between operators": {f"{_SPIN}allow_spinning": "0"},
    "spinning between runs too": {"session.force_spinning_stop": "0"},
    "spinning 50 microseconds": {f"{_SPIN}spin_duration_us": "50"},
    "smaller blocks of work": {"session.dynamic_block_base": "4"},
}


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="int8,fp32")
    parser.add_argument("--layers", type=int, default=models.LAYERS)
    parser.add_argument("--texts", choices=("sentences", "mixed"), default="sentences")
    parser.add_argument("--sweeps", action=argparse.BooleanOptionalAction, default=True)
    asked = parser.parse_args()
    base = models.base(asked.layers)
    found = getattr(texts, asked.texts)(TEXTS)
    result: dict[str, Any] = {"texts": f"{TEXTS}, {asked.texts}, {texts.source()}"}
    for precision in asked.only.split(","):
        plain = base.export if precision == "fp32" else base.plain_int8
        mine = base.fp32 if precision == "fp32" else base.int8
        with contextlib.ExitStack() as stack:
            theirs = stack.enter_context(Contender("plain_ort", plain))
            same = stack.enter_context(Contender("plain_ort", mine))
            ours = stack.enter_context(Contender("ours", mine))
            rows = steps(theirs, same, ours, found)
            if asked.sweeps:
                rows += sweeps(ours, found)
            play(rows, asked.rounds)
            result[precision] = [summary(row, rows) for row in rows]
    print(machine.write(f"ablation_{asked.texts}", result).read_text(encoding="utf-8"))


def steps(theirs: Contender, same: Contender, ours: Contender, found: list[str]) -> list[Row]:
    """From the plain export to what is shipped, and each setting of the session.

    Args:
        theirs: the plain export on plain ONNX Runtime.
        same: our file on plain ONNX Runtime.
        ours: the classifier.
        found: texts.
    """
    return [
        Row("export, alone", theirs, {"batch": 1}, found),
        Row("export, batches of 16 as they come", theirs, {"batch": 16}, found),
        Row("export, batches of 16 sorted", theirs, {"batch": 16, "sort": True}, found),
        Row("our file, batches of 16 sorted", same, {"batch": 16, "sort": True}, found),
        Row("ours, alone", ours, {"alone": True}, found),
        Row("ours", ours, {}, found),
        Row("ours, not the optimised file", ours, {"optimized": False}, found),
        Row("ours, one run at a time", ours, {"side_by_side": False}, found),
        *(
            Row(f"ours{how}, {name}", ours, {**alone, "configuration": entries}, found)
            for name, entries in SESSION.items()
            for how, alone in (("", {}), (", alone", {"alone": True}))
        ),
        Row("ours, 1 thread", ours, {"threads": 1}, found),
    ]


def sweeps(ours: Contender, found: list[str]) -> list[Row]:
    """Sizes of batches."""
    budgets = [Row(f"batch_tokens {n}", ours, {"batch_tokens": n}, found) for n in BUDGETS]
    return budgets + [
        Row(f"ATTENTION_PAIRS {n}", ours, {"attention_pairs": n}, found) for n in ATTENTION_PAIRS
    ]


def summary(row: Row, rows: list[Row]) -> dict[str, Any]:
    """What is kept of a row; the first of all is the export."""
    difference = float(np.abs(row.logits - rows[0].logits).max())
    return {
        "row": row.name,
        "texts_per_s": round(row.texts_per_second, 1),
        "to_ours": round(ours_median(rows) / row.median, 3),
        "seconds": [round(s, 3) for s in row.seconds],
        "largest_logit_difference_to_export": round(difference, 5),
    }


def ours_median(rows: list[Row]) -> float:
    """Seconds of the shipped way."""
    return next(row.median for row in rows if row.name == "ours")


if __name__ == "__main__":
    main()
