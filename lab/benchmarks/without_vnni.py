"""The embedded model's linear layers in several forms, with VNNI and as if without.

python -m lab.benchmarks.without_vnni [--data ../shared/data/sst2_dev.tsv]

Needs a C compiler and a processor whose CPUID can be made to fault (most Intel, AMD since Zen 4).
Times are of the CPU, of one thread, so that other work on the machine changes them little.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from rich.console import Console
from rich.table import Table

from lab.benchmarks import machine
from lab.benchmarks.schemes import encode, run
from roberta_sentiment.model.artifact import DEFAULT_MODEL, open_artifact
from roberta_sentiment.run.session import CONFIGURATION, Session
from roberta_sentiment.text.tokenizer import load_tokenizer
from roberta_sentiment.tools.labelled import read_labelled

ROUNDS, TIMED = 5, 40
FORMS = ("float32", "u8 x s8", "u8 x s8, seven bits", "u8 x u8")
CPUS = ("VNNI", "AVX2 only")
PRODUCT = "MatMulIntegerToFloat"


def write_forms(directory: Path) -> None:
    """The same weights in each form; seven bits are rounded from the eight."""
    for form in FORMS:
        model = onnx.load(str(DEFAULT_MODEL / "model.onnx"))
        constants = {tensor.name: tensor for tensor in model.graph.initializer}
        makers = {n.output[0]: n for n in model.graph.node}
        for node in list(model.graph.node):
            if node.op_type == PRODUCT:
                _change(form, model.graph, node, constants, makers)
        onnx.save(model, str(directory / f"{form}.onnx"))


def _change(form: str, graph: Any, node: Any, constants: Any, makers: Any) -> None:
    weight, steps = (numpy_helper.to_array(constants[node.input[at]]) for at in (1, 3))
    if form == "u8 x s8, seven bits":
        halved = np.rint(weight / 2).astype(np.int8)
        constants[node.input[1]].CopyFrom(numpy_helper.from_array(halved, node.input[1]))
        constants[node.input[3]].CopyFrom(numpy_helper.from_array(steps * 2, node.input[3]))
    if form == "u8 x u8":
        moved = (weight.astype(np.int16) + 128).astype(np.uint8)
        constants[node.input[1]].CopyFrom(numpy_helper.from_array(moved, node.input[1]))
        zero = numpy_helper.from_array(np.array(128, np.uint8), f"{node.name}.zero")
        graph.initializer.append(zero)
        node.input[5] = zero.name
    if form == "float32":
        plain = numpy_helper.from_array(weight * steps, node.input[1])
        constants[node.input[1]].CopyFrom(plain)
        x = makers[node.input[0]].input[0]
        product, bias, output = f"{node.name}.product", node.input[6], node.output[0]
        node.CopyFrom(helper.make_node("MatMul", [x, node.input[1]], [product], name=node.name))
        added = helper.make_node("Add", [product, bias], [output])
        graph.node.insert(list(graph.node).index(node) + 1, added)


def open_form(path: Path) -> Session:
    """A session with nothing shifted for the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    for key, value in CONFIGURATION.items():
        options.add_session_config_entry(key, value)
    return Session(
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    )


def measure(directory: Path, ids: list[list[int]], labels: list[int]) -> dict[str, Any]:
    """On the CPU as this process sees it: seconds a text in each round, and the accuracy."""
    sessions = {form: open_form(directory / f"{form}.onnx") for form in FORMS}
    seconds: dict[str, list[float]] = {form: [] for form in FORMS}
    for _ in range(ROUNDS):
        for form, session in sessions.items():
            start = time.process_time()
            run(session, ids[:TIMED], 1, 1)
            seconds[form].append((time.process_time() - start) / TIMED)
    logits = {form: run(session, ids, 1, 16) for form, session in sessions.items()}
    return {
        form: {"seconds": seconds[form], "logits": logits[form].tolist(), **_score(found, labels)}
        for form, found in logits.items()
    }


def _score(logits: npt.NDArray[np.float32], labels: list[int]) -> dict[str, float]:
    return {"accuracy": round(float((logits.argmax(1) == np.array(labels)).mean()), 4)}


def compile_library(directory: Path) -> Path:
    """The library that hides instructions."""
    library = directory / "without_vnni.so"
    source = Path(__file__).with_suffix(".c")
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
    return library


def main() -> None:
    """Measure in a process each, write the JSON, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/sst2_dev.tsv"))
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        artifact = open_artifact(DEFAULT_MODEL)
        data = read_labelled(options.data, artifact.labels)
        ids = encode(load_tokenizer(artifact, max_tokens=0, overlap=0), data.texts)
        print(json.dumps(measure(options.measure, ids, data.labels)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        write_forms(Path(scratch))
        preloads = dict(zip(CPUS, ("", str(compile_library(Path(scratch)))), strict=True))
        words = [sys.executable, "-m", "lab.benchmarks.without_vnni", "--data", str(options.data)]
        found = {
            cpu: json.loads(
                subprocess.run(
                    [*words, "--measure", scratch],
                    env={**os.environ, "LD_PRELOAD": preload},
                    stdout=subprocess.PIPE,
                    check=True,
                ).stdout
            )
            for cpu, preload in preloads.items()
        }
    exact = np.array(found["VNNI"]["u8 x s8"]["logits"])
    rows = {cpu: {form: row(forms, form, exact) for form in FORMS} for cpu, forms in found.items()}
    machine.write("without_vnni", {"rows": rows})
    table = Table("CPU", "form", *rows["VNNI"]["float32"])
    for cpu, forms in rows.items():
        for form, cells in forms.items():
            table.add_row(cpu, form, *(f"{value:.4g}" for value in cells.values()))
    Console(width=140).print(table)


def row(forms: dict[str, Any], form: str, exact: npt.NDArray[np.float64]) -> dict[str, float]:
    """One line of the table: the ratio is of the same round."""
    mine = forms[form]["seconds"]
    ratios = [a / b for a, b in zip(forms["float32"]["seconds"], mine, strict=True)]
    return {
        "ms_a_text": round(1000 * statistics.median(mine), 2),
        "times_float32": round(statistics.median(ratios), 2),
        "accuracy": forms[form]["accuracy"],
        "largest_difference": round(float(np.abs(forms[form]["logits"] - exact).max()), 4),
    }


if __name__ == "__main__":
    main()
