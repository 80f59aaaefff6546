"""On a GPU: texts and requests a second of ours, PyTorch and TensorRT, and whether answers agree.

    python3.12 -m venv .venv-gpu
    .venv-gpu/bin/pip install -r requirements-gpu.txt
    .venv-gpu/bin/pip install torch transformers tensorrt-cu13
    .venv-gpu/bin/python -m lab.benchmarks.gpu

It takes at most eight minutes on an H100. The model is of base size with seeded random weights, or
`--model`, a directory in fp32. What can't be loaded is named with its reason; the rest still runs.
With `--device cpu --layers 2 --hidden 64 --scale 0.01` it runs anywhere, to try the script itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from lab.benchmarks import load, machine, texts
from roberta_sentiment.classifier import load_classifier
from roberta_sentiment.graph.fused import build
from roberta_sentiment.graph.weights import Weights, from_onnx, from_state_dict
from roberta_sentiment.model.artifact import DEFAULT_MODEL, open_artifact
from roberta_sentiment.settings import Settings
from roberta_sentiment.text.tokenizer import load_tokenizer
from scripts.local_service import Microservice

Logits = npt.NDArray[np.float32]
Rows = list[list[int]]
LIMIT_S = 450.0
"""Seconds after which nothing new is begun."""
SETS = {24: 8192, 128: 2048, 512: 512}
"""Texts of so many tokens each."""
MIXED, CHECKED, ROUNDS = 4096, 872, 3
PROFILE = ("1x2", "64x64", "256x512")
"""Smallest, usual and largest batch that TensorRT is prepared for."""
_HEAD_GAIN = 25.0
"""Widens the logits of random weights to those of a trained model."""


def random_model(folder: Path, layers: int, hidden: int) -> Path:
    """A model directory of random weights, with the embedded model's tokenizer."""
    config = {
        "model_type": "roberta", "num_hidden_layers": layers, "hidden_size": hidden,
        "num_attention_heads": max(1, hidden // 64), "intermediate_size": 4 * hidden,
        "vocab_size": 50_265, "max_position_embeddings": 514, "type_vocab_size": 1,
        "layer_norm_eps": 1e-5, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
        "id2label": {"0": "negative", "1": "positive"},
    }  # fmt: skip
    onnx.save(build(from_state_dict(_random_state(config), config)), str(folder / "model.onnx"))
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "tokenizer.json").write_bytes((DEFAULT_MODEL / "tokenizer.json").read_bytes())
    return folder


def _random_state(config: dict[str, Any]) -> dict[str, npt.NDArray[Any]]:
    draw = np.random.default_rng(0)
    hidden, wide = config["hidden_size"], config["intermediate_size"]
    state: dict[str, npt.NDArray[Any]] = {}

    def add(name: str, *shape: int, gain: float = 1) -> None:
        state[f"{name}.weight"] = (draw.normal(0, 0.02 * gain, shape)).astype(np.float32)

    def add_linear(name: str, outputs: int, inputs: int, gain: float = 1) -> None:
        add(name, outputs, inputs, gain=gain)
        state[f"{name}.bias"] = np.zeros(outputs, np.float32)

    def add_norm(name: str) -> None:
        state[f"{name}.weight"] = np.ones(hidden, np.float32)
        state[f"{name}.bias"] = np.zeros(hidden, np.float32)

    add("roberta.embeddings.word_embeddings", config["vocab_size"], hidden)
    add("roberta.embeddings.position_embeddings", config["max_position_embeddings"], hidden)
    add("roberta.embeddings.token_type_embeddings", 1, hidden)
    add_norm("roberta.embeddings.LayerNorm")
    for layer in range(config["num_hidden_layers"]):
        at = f"roberta.encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            add_linear(f"{at}.attention.self.{part}", hidden, hidden)
        add_linear(f"{at}.attention.output.dense", hidden, hidden)
        add_norm(f"{at}.attention.output.LayerNorm")
        add_linear(f"{at}.intermediate.dense", wide, hidden)
        add_linear(f"{at}.output.dense", hidden, wide)
        add_norm(f"{at}.output.LayerNorm")
    add_linear("classifier.dense", hidden, hidden)
    add_linear("classifier.out_proj", 2, hidden, gain=_HEAD_GAIN)
    return state


def rows_of(folder: Path, scale: float) -> dict[str, Rows]:
    """Token ids of each set: of one length, mixed, and those that answers are compared on."""
    draw = np.random.default_rng(0)
    found = {
        f"{length} tokens": draw.integers(4, 20_000, (max(4, int(n * scale)), length)).tolist()
        for length, n in SETS.items()
    }
    tokenizer = load_tokenizer(open_artifact(folder), max_tokens=0, overlap=128)

    def encoded(chosen: list[str]) -> Rows:
        return [text.windows[0] for text in tokenizer.encode(chosen, "end")]

    found["mixed"] = encoded(texts.mixed(max(8, int(MIXED * scale))))
    found["checked"] = encoded(texts.sentences(max(8, int(CHECKED * min(1, scale)))))
    return found


def weights_of(folder: Path) -> Weights:
    """The tensors of a model directory."""
    artifact = open_artifact(folder)
    return from_onnx(onnx.load(str(artifact.onnx_path)), artifact.config)


class Ours:
    """This project's classifier."""

    def __init__(self, folder: Path, device: str, precision: str) -> None:
        settings = Settings.read({"device": device, "precision": precision}, {})
        self._classifier = load_classifier(open_artifact(folder), settings)
        self.facts = {
            "device": str(self._classifier.checked.device),
            "device_name": self._classifier.checked.device.name,
            "batch_tokens": self._classifier.checked.batch_tokens,
        }

    def run(self, rows: Rows) -> Logits:
        """Logits of token ids, (n, classes)."""
        return self._classifier.classify_ids(rows).logits


def torch_model(folder: Path, device: str, dtype: str) -> Any:
    """The same weights in transformers' model."""
    import torch
    from transformers import RobertaConfig, RobertaForSequenceClassification

    config = RobertaConfig(**open_artifact(folder).config)
    model: Any = RobertaForSequenceClassification(config)
    state = {name: torch.from_numpy(t.copy()) for name, t in weights_of(folder).tensors.items()}
    model.load_state_dict(state, strict=False)
    return model.to(device, getattr(torch, dtype)).eval()


class Sorted:
    """Padded batches, sorted by length. A subclass gives `batch`: ids and mask to logits."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.facts: dict[str, Any] = {"batch": size}

    def batch(self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> Logits:
        """Logits, (n, classes)."""
        raise NotImplementedError

    def run(self, rows: Rows) -> Logits:
        """Logits of token ids, (n, classes)."""
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        found = np.empty((len(rows), 2), np.float32)
        for at in range(0, len(rows), self._size):
            group = order[at : at + self._size]
            ids = np.ones((len(group), len(rows[group[-1]])), np.int64)
            mask = np.zeros_like(ids)
            for row, i in enumerate(group):
                ids[row, : len(rows[i])], mask[row, : len(rows[i])] = rows[i], 1
            found[group] = self.batch(ids, mask)
        return found


class Torch(Sorted):
    """Transformers, compiled."""

    def __init__(self, folder: Path, device: str, dtype: str, size: int) -> None:
        import torch

        super().__init__(size)
        torch.set_float32_matmul_precision("highest")
        self._torch, self._device = torch, device
        self._model = torch.compile(torch_model(folder, device, dtype), dynamic=True)

    def batch(self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> Logits:
        """Logits, (n, classes)."""
        on_device = [self._torch.from_numpy(array).to(self._device) for array in (ids, mask)]
        with self._torch.inference_mode():
            logits = self._model(input_ids=on_device[0], attention_mask=on_device[1]).logits
        found: Logits = logits.float().cpu().numpy()
        return found


class TensorRt(Sorted):
    """The graph that PyTorch exports, in TensorRT by ONNX Runtime."""

    def __init__(self, folder: Path, device: str, size: int) -> None:
        import onnxruntime
        import torch

        super().__init__(size)
        path = str(folder / "exported.onnx")
        ids = torch.ones((2, 8), dtype=torch.int64)
        names = ["input_ids", "attention_mask"]
        free = {name: {0: "batch", 1: "length"} for name in names}
        torch.onnx.export(
            torch_model(folder, "cpu", "float32"), (ids, ids), path, input_names=names,
            output_names=["logits"], dynamic_axes=free, dynamo=False,
        )  # fmt: skip
        shapes = {
            f"trt_profile_{kind}_shapes": ",".join(f"{name}:{shape}" for name in names)
            for kind, shape in zip(("min", "opt", "max"), PROFILE, strict=True)
        }
        onnxruntime.preload_dlls()
        provider = "TensorrtExecutionProvider"
        options = {"trt_fp16_enable": "1", **shapes}
        self._session = onnxruntime.InferenceSession(
            path, providers=[(provider, options), "CUDAExecutionProvider"]
        )
        if provider not in self._session.get_providers():
            raise RuntimeError("ONNX Runtime did not take TensorRT")

    def batch(self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> Logits:
        """Logits, (n, classes)."""
        feed = {"input_ids": ids, "attention_mask": mask}
        logits: Logits = self._session.run(["logits"], feed)[0]
        return logits


_scorer: Any = None
"""Of this process."""


def _load(kind: type, *arguments: Any) -> dict[str, Any]:
    global _scorer
    _scorer = kind(*arguments)
    facts: dict[str, Any] = _scorer.facts
    return facts


def _score(rows: Rows) -> tuple[float, Logits]:
    start = time.perf_counter()
    logits = _scorer.run(rows)
    return time.perf_counter() - start, logits


class Contenders:
    """Processes that score, asked in turn.

    Args:
        folder: the model.
        device: where.

    Attributes:
        facts, failed: of those that loaded, and why others did not.
    """

    def __init__(self, folder: Path, device: str) -> None:
        self._pools: dict[str, ProcessPoolExecutor] = {}
        self.facts: dict[str, Any] = {}
        self.failed: dict[str, str] = {}
        self.begin = time.monotonic()
        on_gpu = device != "cpu"
        half = "fp16" if on_gpu else "as_stored"
        self._start("CPU fp32", Ours, folder, "cpu", "as_stored")
        self._start("ours fp32", Ours, folder, device, "as_stored")
        self._start("ours fp16", Ours, folder, device, half)
        for size in (64, 256):
            self._start(f"torch fp16, {size}", Torch, folder, device, "float16", size)
        self._start("torch fp32, 64", Torch, folder, device, "float32", 64)
        self._start("TensorRT fp16, 256", TensorRt, folder, device, 256)

    def _start(self, name: str, kind: type, *arguments: Any) -> None:
        pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        try:
            if self.is_late:
                raise TimeoutError("no time was left")
            self.facts[name] = pool.submit(_load, kind, *arguments).result(LIMIT_S / 2)
            self._pools[name] = pool
        except Exception as error:
            self.failed[name] = f"{type(error).__name__}: {str(error)[:300]}"
            pool.shutdown(wait=False, cancel_futures=True)
        print(f"{name}: {self.failed.get(name, 'loaded')}", file=sys.stderr, flush=True)

    @property
    def is_late(self) -> bool:
        """Whether nothing new should begin."""
        return time.monotonic() - self.begin > LIMIT_S

    def rates(self, rows: Rows) -> dict[str, float]:
        """Texts a second of each, the median of rounds in turn after one that is not counted."""
        seconds: dict[str, list[float]] = {}
        for _ in range(ROUNDS + 1):
            for name in [name for name in self._pools if name != "CPU fp32"]:
                if not self.is_late and (took := self._ask(name, rows)) is not None:
                    seconds.setdefault(name, []).append(took[0])
        return {
            name: round(len(rows) / statistics.median(found[1:]), 1)
            for name, found in seconds.items()
            if len(found) > 1
        }

    def differences(self, rows: Rows) -> dict[str, Any]:
        """Of each to the CPU in fp32: largest difference of a logit, and other labels."""
        answers = {name: took[1] for name in self._pools if (took := self._ask(name, rows))}
        exact = answers.pop("CPU fp32", None)
        if exact is None:
            return {}
        return {
            name: {
                "largest_logit_difference": round(float(np.abs(logits - exact).max()), 5),
                "other_label": int((logits.argmax(axis=1) != exact.argmax(axis=1)).sum()),
            }
            for name, logits in answers.items()
        }

    def _ask(self, name: str, rows: Rows) -> tuple[float, Logits] | None:
        try:
            return self._pools[name].submit(_score, rows).result(LIMIT_S / 3)
        except Exception as error:
            self.failed[name] = f"{type(error).__name__}: {str(error)[:300]}"
            self._pools.pop(name).shutdown(wait=False, cancel_futures=True)
            return None

    def close(self) -> None:
        """End them, so that their memory is free."""
        for pool in self._pools.values():
            pool.shutdown()


def served(folder: Path, device: str, seconds: float) -> dict[str, Any]:
    """Requests a second and latency over REST, one sentence a request, at 1 and 64 callers."""
    half = {} if device == "cpu" else {"SENTIMENT_PRECISION": "fp16"}
    environment = {"MODEL_URI": str(folder), "SENTIMENT_DEVICE": device, "GRPC_WORKERS": "0"}
    with (
        tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file,
        Microservice(environment={**environment, **half}) as service,
    ):
        file.write("\n".join(texts.sentences(256)))
        file.flush()
        service.wait_until_ready()
        return {
            str(callers): load.client(
                "rest", service.http, concurrency=callers, seconds=seconds, texts=Path(file.name)
            )
            for callers in (1, 64)
        }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a directory in fp32; by default random weights")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=768)
    parser.add_argument("--scale", type=float, default=1, help="of the numbers of texts")
    parser.add_argument("--seconds", type=float, default=6, help="of a served run")
    parser.add_argument("--name", default="gpu")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.model or random_model(Path(scratch), asked.layers, asked.hidden)
        sets = rows_of(folder, asked.scale)
        checked = sets.pop("checked")
        contenders = Contenders(folder, asked.device)
        with contextlib.closing(contenders):
            differences = contenders.differences(checked)
            rates = {name: contenders.rates(rows) for name, rows in sets.items()}
        result = {
            "contenders": contenders.facts,
            "texts_per_s": rates,
            "fp16_to_torch_s_best": {name: _ratio(found) for name, found in rates.items()},
            "difference_to_cpu_fp32": differences,
            "served": served(folder, asked.device, asked.seconds),
            "failed": contenders.failed,
            "seconds": round(time.monotonic() - contenders.begin, 1),
        }
    print(machine.write(asked.name, result).read_text(encoding="utf-8"))


def _ratio(rates: dict[str, float]) -> float | None:
    best = max((rate for name, rate in rates.items() if name.startswith("torch fp16")), default=0)
    return round(rates["ours fp16"] / best, 2) if best and "ours fp16" in rates else None


if __name__ == "__main__":
    main()
