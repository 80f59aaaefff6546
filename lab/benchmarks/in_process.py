"""Texts a second without a server: ours and what people use instead, same weights, same texts.

python -m lab.benchmarks.in_process [--rounds 5] [--layers 12] [--only ours,ort]

Newer peers alone, in five minutes: --only torch,bf16,openvino,ort,ours --name peers
--rows "batches of (8|32)$|latency mode|^ours \\w+$"
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from lab.benchmarks import gemm, machine, models, texts
from lab.benchmarks.contender import Contender, Row, play
from roberta_sentiment.model.artifact import open_artifact
from roberta_sentiment.text.tokenizer import load_tokenizer

SENTENCES, LONG, SHORT = 256, 64, 192
GROUPS = ("torch", "bf16", "openvino", "optimum", "ort", "ours")


def rows(
    stack: contextlib.ExitStack, base: models.Base, only: Sequence[str], sentences: Sequence[str]
) -> list[Row]:
    """Start the contenders; one row for each way of asking them."""
    found: list[Row] = []

    def add(group: str, contender: Contender, options: Sequence[dict[str, Any]]) -> None:
        stack.enter_context(contender)
        for chosen in options:
            found.append(Row(_name(group, chosen), contender, chosen, sentences))

    if "torch" in only:
        torch = Contender("torch_pipeline", base.checkpoint, "transformers")
        add("transformers pipeline, torch fp32", torch, [{"batch": 1}, {"batch": 32}])
    if "bf16" in only:
        bf16 = Contender("torch_batches", base.checkpoint, "transformers")
        compiled = [{"batch": 8, "compiled": False}, {"batch": 8, "compiled": True}]
        add("torch bf16, sorted", bf16, compiled)
    if "openvino" in only:
        openvino = Contender("openvino_batches", base.export, "openvino")
        for precision in ("int8", "bf16", "f32"):
            modes = (
                (("THROUGHPUT", 8), ("LATENCY", 1)) if precision == "int8" else (("THROUGHPUT", 8),)
            )
            add(
                f"OpenVINO {precision}, sorted",
                openvino,
                [{"precision": precision, "mode": mode, "batch": batch} for mode, batch in modes],
            )
    if "optimum" in only:
        optimum = Contender("optimum_pipeline", base.export, "optimum")
        add("Optimum pipeline, ORT fp32", optimum, [{"batch": 1}, {"batch": 32}])
    if "ort" in only:
        plans = [{"batch": n, "sort": False} for n in (1, 16, 64)]
        plans += [{"batch": n, "sort": True} for n in (8, 16, 64)]
        add("ORT fp32", Contender("plain_ort", base.export), plans)
        add("ORT int8 dynamic", Contender("plain_ort", base.plain_int8), plans)
    if "ours" in only:
        for precision, directory in (("fp32", base.fp32), ("int8", base.int8)):
            ours = Contender("ours", directory)
            add(f"ours {precision}", ours, [{}])
            found += _long_beside_short(f"ours {precision}", ours)
    return found


def _name(group: str, options: dict[str, Any]) -> str:
    if not options:
        return group
    order = {True: ", sorted", False: ", as they come"}.get(options.get("sort", ""), "")
    batch = options["batch"]
    compiled = ", compiled" if options.get("compiled") else ""
    mode = {"THROUGHPUT": ", throughput mode", "LATENCY": ", latency mode"}
    which = mode.get(options.get("mode", ""), "") + compiled
    return f"{group}{order}{which}, " + ("alone" if batch == 1 else f"batches of {batch}")


def _long_beside_short(name: str, contender: Contender) -> list[Row]:
    """One request with long reviews beside short sentences, and the two groups apart."""
    long, short = texts.reviews(LONG), texts.sentences(SHORT)
    together = [text for i in range(LONG) for text in (long[i], *short[i * 3 : i * 3 + 3])]
    return [
        Row(f"{name}: {LONG} long beside {SHORT} short", contender, {}, together),
        Row(f"{name}: {LONG} long", contender, {}, long),
        Row(f"{name}: {SHORT} short", contender, {}, short),
    ]


def summary(found: Sequence[Row], base: models.Base, layers: int) -> dict[str, Any]:
    """Rates, differences and ratios."""
    threads = len(os.sched_getaffinity(0))
    limits = {
        "fp32": gemm.limit(eight_bits=False, threads=threads),
        "int8": gemm.limit(eight_bits=True, threads=threads),
    }
    artifact = open_artifact(base.export)
    tokens = load_tokenizer(artifact, max_tokens=0, overlap=128)
    reference = next((row.logits for row in found if "fp32" in row.name), None)
    table = []
    for row in found:
        lengths = [text.tokens for text in tokens.encode(row.texts, "end")]
        work = gemm.operations(
            [min(n, tokens.limit) for n in lengths], layers=layers, hidden=768, inner=3072
        )
        limit = limits["int8" if "int8" in row.name else "fp32"]
        entry: dict[str, Any] = {
            "row": row.name,
            "texts_per_s": round(row.texts_per_second, 1),
            "seconds": [round(s, 3) for s in row.seconds],
            "tokens_per_text": round(sum(lengths) / len(lengths), 1),
            "of_gemm_limit": round(work / row.median / limit, 3),
        }
        if reference is not None and reference.shape == row.logits.shape and ":" not in row.name:
            off = np.abs(row.logits - reference)
            flips = (row.logits.argmax(axis=1) != reference.argmax(axis=1)).sum()
            entry["largest_logit_difference"] = round(float(off.max()), 5)
            entry["other_label"] = int(flips)
        table.append(entry)
    return {
        "texts": f"{len(found[0].texts)} sentences, {texts.source()}, seed {texts.SEED}",
        "difference_to": next((r.name for r in found if "fp32" in r.name), None),
        "logit_deviation": None if reference is None else round(float(reference.std()), 3),
        "gemm_limit_gops": {k: round(v) for k, v in limits.items()},
        "rows": table,
        "ratios": _ratios(found),
    }


def _ratios(found: Sequence[Row]) -> dict[str, float]:
    """What the issue asks for; how many times faster the first is."""

    def best(prefix: str, also: str = "") -> float | None:
        rates = [r.texts_per_second for r in found if r.name.startswith(prefix) and also in r.name]
        return max(rates, default=None)

    ratios = {}
    torch = best("transformers")
    for precision, plain in (("fp32", "ORT fp32"), ("int8", "ORT int8")):
        mine = next((r for r in found if r.name == f"ours {precision}"), None)
        if mine is None:
            continue
        for name, other in (
            (f"{precision} to the best plain row as they come", best(plain, "as they come")),
            (f"{precision} to the best plain row, sorted or not", best(plain)),
            (f"{precision} to Optimum's best", best("Optimum")),
            (f"{precision} to torch's best", torch),
            (f"{precision} to torch's best in bf16", best("torch bf16")),
            (f"{precision} to OpenVINO's best in int8", best("OpenVINO int8")),
            (f"{precision} to OpenVINO's best in bf16", best("OpenVINO bf16")),
            (f"{precision} to OpenVINO's best in f32", best("OpenVINO f32")),
        ):
            if other:
                ratios[name] = round(mine.texts_per_second / other, 2)
        apart = [r.median for r in found if r.name.startswith(f"ours {precision}:")]
        if apart:
            together, long, short = apart
            ratios[f"{precision}: long beside short, time against apart"] = round(
                together / (long + short), 3
            )
    return ratios


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layers", type=int, default=models.LAYERS)
    parser.add_argument("--sentences", type=int, default=SENTENCES)
    parser.add_argument("--only", default=",".join(GROUPS))
    parser.add_argument("--rows", default="", help="regular expression of the rows to run")
    parser.add_argument("--name", default="in_process")
    asked = parser.parse_args()
    base = models.base(asked.layers)
    with contextlib.ExitStack() as stack:
        found = rows(stack, base, asked.only.split(","), texts.sentences(asked.sentences))
        found = [row for row in found if re.search(asked.rows, row.name)]
        play(found, asked.rounds)
        versions: dict[str, Any] = {}
        for row in found:
            versions[row.name.partition(",")[0].partition(":")[0]] = row.contender.facts
    result = summary(found, base, asked.layers)
    path = machine.write(asked.name, {**result, "contenders": versions})
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
