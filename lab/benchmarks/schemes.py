"""Eight-bit schemes for the default model: accuracy, size, speed, and what other texts change.

python -m lab.benchmarks.schemes [--model build/default/fp32] [--data ../shared/data/sst2_dev.tsv]

The float32 model comes from `make model`; the texts are SST-2 dev.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.matmul_nbits_quantizer import (
    DefaultWeightOnlyQuantConfig,
    MatMulNBitsQuantizer,
)
from rich.console import Console
from rich.progress import track
from rich.table import Table

from lab.benchmarks import machine
from roberta_sentiment.container import available_cpus
from roberta_sentiment.graph.int8 import quantize
from roberta_sentiment.graph.weights import from_onnx
from roberta_sentiment.model.artifact import Artifact, open_artifact
from roberta_sentiment.run import batching
from roberta_sentiment.run.session import Session, open_session
from roberta_sentiment.text.tokenizer import RobertaTokenizer, load_tokenizer
from roberta_sentiment.tools.labelled import Labelled, read_labelled, read_texts

BATCH, ROUNDS, TIMED = 16, 5, 200
Logits = npt.NDArray[np.float32]
Made = Callable[[onnx.ModelProto, Path], None]


def dynamic(model: onnx.ModelProto, path: Path, *, per_channel: bool) -> None:
    """ONNX Runtime's own: activation scales from the whole batch."""
    with tempfile.TemporaryDirectory() as scratch:
        onnx.save(model, str(Path(scratch) / "model.onnx"))
        quantize_dynamic(
            Path(scratch) / "model.onnx",
            path,
            op_types_to_quantize=["MatMul"],
            per_channel=per_channel,
            weight_type=QuantType.QInt8,
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )


def blockwise(model: onnx.ModelProto, path: Path, *, block: int) -> None:
    """MatMulNBits: weights and activations in blocks with a scale each, eight bits."""
    config = DefaultWeightOnlyQuantConfig(
        block_size=block, is_symmetric=True, accuracy_level=4, bits=8
    )
    quantizer = MatMulNBitsQuantizer(model, algo_config=config)
    quantizer.process()
    onnx.save(quantizer.model.model, str(path))


def schemes(artifact: Artifact, calibration: list[list[int]]) -> Iterator[tuple[str, Path]]:
    """Each scheme's name and a file with its graph, valid until the next one is asked for."""

    def static(model: onnx.ModelProto, path: Path) -> None:
        graph, _ = quantize(from_onnx(model, artifact.config), calibration)
        onnx.save(graph, str(path))

    made: dict[str, Made] = {
        "float32": lambda model, path: onnx.save(model, str(path)),
        "dynamic, a tensor": lambda model, path: dynamic(model, path, per_channel=False),
        "dynamic, a column": lambda model, path: dynamic(model, path, per_channel=True),
        "blocks of 128": lambda model, path: blockwise(model, path, block=128),
        "blocks of 32": lambda model, path: blockwise(model, path, block=32),
        "static, smoothed (shipped)": static,
    }
    for name, make in made.items():
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "model.onnx"
            make(onnx.load(str(artifact.onnx_path)), path)
            yield name, path


def run(session: Session, sequences: list[list[int]], pad_id: int, batch: int) -> Logits:
    """Logits of all sequences in batches as they come, (n, classes)."""
    groups = [sequences[at : at + batch] for at in range(0, len(sequences), batch)]
    return np.concatenate([session.run(*batching.pad(group, pad_id)) for group in groups])


def judge(
    path: Path, sequences: list[list[int]], data: Labelled, exact: Logits | None, pad_id: int
) -> tuple[dict[str, Any], Logits, Session]:
    """One row of the table, but for the speed."""
    session = open_session(path, threads=available_cpus())
    alone = run(session, sequences, pad_id, 1)
    together = run(session, sequences, pad_id, BATCH)
    exact = alone if exact is None else exact
    row = {
        "megabytes": round(path.stat().st_size / 1e6, 1),
        "accuracy": round(float((alone.argmax(1) == np.array(data.labels)).mean()), 4),
        "other_label_than_float32": int((alone.argmax(1) != exact.argmax(1)).sum()),
        "largest_difference_to_float32": float(np.abs(alone - exact).max()),
        "largest_difference_batched_to_alone": float(np.abs(together - alone).max()),
        "other_label_batched": int((together.argmax(1) != alone.argmax(1)).sum()),
    }
    return row, alone, session


def add_speeds(rows: dict[str, dict[str, Any]], sessions: dict[str, Session], ids: Any) -> None:
    """Texts a second, each alone, medians over rounds in which the schemes take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(ROUNDS):
        for name, session in sessions.items():
            start = time.perf_counter()
            run(session, ids, 1, 1)
            seconds[name].append(time.perf_counter() - start)
    for name, row in rows.items():
        row["texts_a_second_alone"] = round(len(ids) / statistics.median(seconds[name]), 1)
        ratios = [a / b for a, b in zip(seconds["float32"], seconds[name], strict=True)]
        row["times_float32"] = round(statistics.median(ratios), 2)


def encode(tokenizer: RobertaTokenizer, texts: list[str]) -> list[list[int]]:
    """Token ids of each text, cut at the limit."""
    return [text.windows[0] for text in tokenizer.encode(texts, "end")]


def main() -> None:
    """Measure, write the JSON, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("build/default/fp32"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data/sst2_dev.tsv"))
    parser.add_argument("--calibration", type=Path, default=Path("build/default/calibration.txt"))
    options = parser.parse_args()
    artifact = open_artifact(options.model)
    tokenizer = load_tokenizer(artifact, max_tokens=0, overlap=0)
    data = read_labelled(options.data, artifact.labels)
    ids = encode(tokenizer, data.texts)
    calibration = encode(tokenizer, read_texts(options.calibration))
    rows: dict[str, dict[str, Any]] = {}
    sessions: dict[str, Session] = {}
    exact: Logits | None = None
    for name, path in track(schemes(artifact, calibration), "schemes", total=6):
        rows[name], alone, sessions[name] = judge(path, ids, data, exact, artifact.pad_id)
        exact = alone if exact is None else exact
    add_speeds(rows, sessions, ids[:TIMED])
    machine.write("schemes", {"texts": len(ids), "batch": BATCH, "schemes": rows})
    table = Table("scheme", *next(iter(rows.values())))
    for name, row in rows.items():
        table.add_row(name, *(f"{value:.4g}" for value in row.values()))
    Console(width=200).print(table)


if __name__ == "__main__":
    main()
