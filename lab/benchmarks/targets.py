"""What is served in the served benchmark: ours, a plain Seldon class, infinity-emb and MLServer."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import requests

from lab.benchmarks.environments import MissingEnvironmentError, python_of
from lab.benchmarks.load import oip_body
from lab.benchmarks.machine import ROOT
from scripts.local_service import LocalServer, Microservice, free_ports
from scripts.serve import image_environment

Body = Callable[[str], Any]
Scores = Callable[[Any], float]


@dataclasses.dataclass
class Target:
    """A running server and how to speak with it.

    Attributes:
        name: in the results.
        server: the process.
        url: for predictions.
        body: the JSON document that asks for one text.
        positive: the positive class's probability in a JSON answer.
        grpc_port, metrics_port: None where it has none.
    """

    name: str
    server: LocalServer
    url: str
    body: Body
    positive: Scores
    grpc_port: int | None = None
    metrics_port: int | None = None

    def ask(self, text: str) -> float:
        """The positive class's probability of one text."""
        answer = requests.post(self.url, json=self.body(text), timeout=60)
        answer.raise_for_status()
        return self.positive(answer.json())

    def write_bodies(self, texts: list[str]) -> Path:
        """One body a line, for wrk."""
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl", delete=False) as file:
            file.writelines(json.dumps(self.body(text)) + "\n" for text in texts)
        return Path(file.name)


def seldon(name: str, interface: str, packages: str = "server", **environment: str) -> Target:
    """A class under Seldon's wrapper.

    Args:
        name: in the results.
        interface: as in MODEL_NAME.
        packages: name of the environment it runs in.
        environment: beside that of the image; GUNICORN_THREADS among it.
    """
    server = Microservice(
        environment={"MODEL_NAME": interface, **environment}, python=python_of(packages)
    )
    return Target(
        name,
        server,
        server.url("/api/v1.0/predictions"),
        lambda text: {"data": {"ndarray": [text]}},
        lambda answer: float(answer["data"]["ndarray"][0][1]),
        server.grpc,
        server.metrics,
    )


def ours(name: str, model: Path, **environment: str) -> Target:
    """This project as the image starts it, with its bytecode."""
    _compile(environment.get("PYTHONPATH", str(ROOT)))
    return seldon(name, "Model", MODEL_URI=str(model), **environment)


@functools.cache
def _compile(checkout: str) -> None:
    packages = [
        str(Path(checkout) / name) for name in ("Model.py", "roberta_sentiment", "seldon_node")
    ]
    subprocess.run([python_of("server"), "-m", "compileall", "-q", *packages], check=True)


def ours_oip(name: str, model: Path, **settings: Any) -> Target:
    """This project behind MLServer, as `make serve-oip` starts it.

    Args:
        name: in the results.
        model: its directory.
        settings: of MLServer, in place of those in `oip_node/sentiment/settings.json`.
    """
    command = ROOT / ".venv-oip" / "bin" / "mlserver"
    if not command.exists():
        raise MissingEnvironmentError("run `make serve-oip` first")
    http, grpc, metrics = free_ports(3)
    base = f"http://127.0.0.1:{http}/v2/models/sentiment"
    ports = {
        "MLSERVER_HTTP_PORT": str(http),
        "MLSERVER_GRPC_PORT": str(grpc),
        "MLSERVER_METRICS_PORT": str(metrics),
    }
    repository = Path(tempfile.mkdtemp(prefix="oip-")) / "sentiment"
    shutil.copytree(ROOT / "oip_node" / "sentiment", repository)
    shipped = json.loads((repository / "settings.json").read_text(encoding="utf-8"))
    folders = {name: str(repository.parent / name) for name in ("metrics_dir", "environments_dir")}
    (repository / "settings.json").write_text(json.dumps({**shipped, **folders, **settings}))
    server = LocalServer(
        [str(command), "start", str(repository)],
        {
            **os.environ,
            **image_environment(),
            **ports,
            "PYTHONPATH": str(ROOT),
            "MODEL_URI": str(model),
        },
        f"{base}/ready",
    )
    return Target(
        name,
        server,
        f"{base}/infer",
        oip_body,
        lambda answer: float(answer["outputs"][0]["data"][1]),
        grpc,
        metrics,
    )


def plain(name: str, model: Path, threads: int = 1) -> Target:
    """A plain Seldon class, with the wrapper's own defaults but for the threads."""
    return seldon(
        name,
        "lab.benchmarks.contenders.plain_seldon.PlainModel",
        PLAIN_MODEL=str(model),
        GUNICORN_THREADS=str(threads),
        GRPC_THREADS="1",
    )


def openvino(name: str, export: Path, mode: str, threads: int) -> Target:
    """A plain Seldon class around OpenVINO in int8, one run a request.

    Args:
        name: in the results.
        export: the exported model.
        mode: OpenVINO's performance hint.
        threads: that take requests.
    """
    return seldon(
        name,
        "lab.benchmarks.contenders.openvino_seldon.OpenvinoModel",
        "openvino",
        PLAIN_MODEL=str(export),
        OPENVINO_MODE=mode,
        GUNICORN_THREADS=str(threads),
        GRPC_WORKERS="0",
    )


def infinity(name: str, export: Path) -> Target:
    """infinity-emb on a copy of the exported ONNX file, beside which it writes."""
    (port,) = free_ports(1)
    model = shutil.copytree(export, Path(tempfile.mkdtemp(prefix="infinity-")) / "model")
    base = f"http://127.0.0.1:{port}"
    server = LocalServer(
        [
            str(python_of("infinity").with_name("infinity_emb")), "v2", "--model-id", str(model),
            "--served-model-name", "base", "--engine", "optimum", "--device", "cpu",
            "--port", str(port), "--host", "127.0.0.1", "--no-model-warmup",
        ],
        {**os.environ, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"},
        f"{base}/health",
    )  # fmt: skip
    return Target(
        name,
        server,
        f"{base}/classify",
        lambda text: {"model": "base", "input": [text]},
        lambda answer: _labelled(answer["data"][0]),
    )


class _Killed(LocalServer):
    """A server that does not end by itself: MLServer waits for a task of its own after traffic."""

    def stop(self, limit_s: float = 0) -> int:
        """Kill it."""
        self.process.kill()
        return self.process.wait()


def mlserver(name: str, model: Path, *, optimum: bool = True, **model_settings: Any) -> Target:
    """MLServer with its Hugging Face runtime.

    Args:
        name: in the results.
        model: its directory, with an ONNX file or, for PyTorch, weights.
        optimum: run the ONNX file, by Optimum.
        model_settings: beside those that say which model it is.
    """
    http, grpc, metrics = free_ports(3)
    base = f"http://127.0.0.1:{http}"
    ports = {"http_port": http, "grpc_port": grpc, "metrics_port": metrics}
    folder = _mlserver_folder(model, ports, optimum=optimum, **model_settings)
    server = _Killed(
        [str(python_of("mlserver").with_name("mlserver")), "start", str(folder)],
        {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "USE_TF": "0"},
        f"{base}/v2/models/base/ready",
    )
    return Target(
        name,
        server,
        f"{base}/v2/models/base/infer",
        lambda text: {
            "inputs": [{"name": "array_inputs", "shape": [1], "datatype": "BYTES", "data": [text]}]
        },
        lambda answer: _labelled([json.loads(answer["outputs"][0]["data"][0])]),
    )


def _mlserver_folder(
    model: Path, ports: Mapping[str, int], *, optimum: bool, **model_settings: Any
) -> Path:
    """A temporary directory with the model and MLServer's two files of settings."""
    folder = Path(tempfile.mkdtemp(prefix="mlserver-"))
    copied = str(shutil.copytree(model, folder / "files", ignore=shutil.ignore_patterns(".*")))
    # Its transformers reads merges as texts only, not as pairs.
    tokenizer = folder / "files" / "tokenizer.json"
    saved = json.loads(tokenizer.read_text(encoding="utf-8"))
    saved["model"]["merges"] = [
        merge if isinstance(merge, str) else " ".join(merge) for merge in saved["model"]["merges"]
    ]
    tokenizer.write_text(json.dumps(saved), encoding="utf-8")
    extra = {
        "task": "text-classification",
        "pretrained_model": copied,
        "pretrained_tokenizer": copied,
        "optimum_model": optimum,
        "device": -1,
    }
    served = {
        "name": "base",
        "implementation": "mlserver_huggingface.HuggingFaceRuntime",
        "parameters": {"extra": extra},
        **model_settings,
    }
    (folder / "model-settings.json").write_text(json.dumps(served))
    (folder / "settings.json").write_text(json.dumps({**ports, "debug": False}))
    return folder


def _labelled(found: list[dict[str, Any]]) -> float:
    """The positive class's probability from a list of labels with scores."""
    scores = {str(entry["label"]): float(entry["score"]) for entry in found}
    return scores.get("positive", 1 - next(iter(scores.values()), math.nan))
