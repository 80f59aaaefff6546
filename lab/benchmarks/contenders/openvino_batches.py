"""OpenVINO as its documentation uses it. Argument: the exported model's directory.

The int8 form is NNCF's with its defaults for transformers (SmoothQuant among them), calibrated on
the sentences that ours was calibrated on, and kept beside the export.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import openvino

from lab.benchmarks.contenders.batches import Batches, cut
from lab.benchmarks.contenders.loop import serve

INT8 = "openvino-int8"


class OpenvinoClassifier:
    """A compiled model.

    Args:
        directory: the exported model's.
        precision: f32, bf16 or int8; with int8, what is not quantised computes as OpenVINO likes.
        mode: THROUGHPUT (batches side by side, in streams) or LATENCY.
    """

    def __init__(self, directory: Path, precision: str, mode: str) -> None:
        self._batches = Batches(directory)
        core = openvino.Core()
        hints = {} if precision == "int8" else {"INFERENCE_PRECISION_HINT": precision}
        path = int8_of(directory) if precision == "int8" else directory / "model.onnx"
        self._compiled = core.compile_model(
            core.read_model(str(path)), "CPU", {"PERFORMANCE_HINT": mode, **hints}
        )
        self._queue = openvino.AsyncInferQueue(self._compiled)

    def classify(self, texts: list[str], batch: int = 1) -> list[list[float]]:
        """Logits of each text, (n, classes), in batches sorted by length."""
        found: list[Any] = [None] * len(texts)

        def keep(request: Any, group: list[int]) -> None:
            rows = request.get_output_tensor(0).data.tolist()
            for i, row in zip(group, rows, strict=True):
                found[i] = row

        self._queue.set_callback(keep)
        for group in cut(texts, batch, sort=True):
            self._queue.start_async(self._batches.feed([texts[i] for i in group]), group)
        self._queue.wait_all()
        return found

    def run(self, texts: list[str]) -> list[list[float]]:
        """Logits of each text, (n, classes), in one run; several may be in flight."""
        request = self._compiled.create_infer_request()
        logits: list[list[float]] = request.infer(self._batches.feed(texts))[0].tolist()
        return logits


def int8_of(export: Path) -> Path:
    """The quantised form of an export, made once."""
    path = export.parent / INT8 / "model.xml"
    if not path.exists():
        import nncf

        from lab.benchmarks.models import CALIBRATION_TEXTS
        from lab.benchmarks.texts import sentences

        batches = Batches(export)
        data = nncf.Dataset(sentences(CALIBRATION_TEXTS, seed=1), lambda text: batches.feed([text]))
        model = openvino.Core().read_model(str(export / "model.onnx"))
        quantized = nncf.quantize(model, data, model_type=nncf.ModelType.TRANSFORMER)
        openvino.save_model(quantized, str(path), compress_to_fp16=False)
    return path


def main() -> None:
    """Load what is asked for, and serve."""

    @functools.cache
    def load(precision: str, mode: str) -> OpenvinoClassifier:
        return OpenvinoClassifier(Path(sys.argv[1]), precision, mode)

    def classify(texts: list[str], precision: str, mode: str, batch: int) -> list[list[float]]:
        return load(precision, mode).classify(texts, batch)

    serve(classify, ("openvino", "nncf", "tokenizers"))


if __name__ == "__main__":
    main()
