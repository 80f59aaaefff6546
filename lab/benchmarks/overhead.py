"""What everything but the model costs a request: by part, and the time spent inside ONNX Runtime.

    python -m lab.benchmarks.overhead

The parts are timed one by one in one process with a model that answers at once. The share of ONNX
Runtime is measured in the running service at concurrency 1 and 16.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import struct
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from seldon_core import wrapper
from seldon_core.metrics import SeldonMetrics

from lab.benchmarks import load, machine, models, targets, texts
from Model import Model
from roberta_sentiment.classifier import Predictions, Work
from roberta_sentiment.model.artifact import open_artifact
from roberta_sentiment.serving import metrics
from roberta_sentiment.serving.metadata import answer_facts
from roberta_sentiment.text.tokenizer import load_tokenizer
from seldon_node import answer, payload, repairs

TEXT = "one long string of cliches , and yet a film that stays with you ."
ROUNDS, CALLS = 7, 400


class Instant:
    """A model that answers at once."""

    labels = ("negative", "positive")

    def classify(self, found: Sequence[str], truncation: object = None) -> Predictions:
        """The same scores for every text."""
        logits = np.tile(np.array([[-1, 1]], dtype=np.float32), (len(found), 1))
        work = Work(1, 20, 0, 0.0001, 0.0, 0.004)
        return Predictions(self.labels, logits, [20] * len(found), [], work)

    def classify_ids(self, rows: Sequence[Sequence[int]]) -> Predictions:
        """The same scores for every row."""
        return self.classify([""] * len(rows))


class PlainInstant:
    """The same as a plain Seldon class."""

    def class_names(self) -> list[str]:
        """Names of the columns."""
        return ["negative", "positive"]

    def predict(self, X: Any, names: Any = None, meta: Any = None) -> Any:  # noqa: N803
        """The same scores for every text."""
        return np.tile(np.array([[0.1, 0.9]]), (len(X), 1))


def microseconds(call: Callable[[], object]) -> float:
    """Median over rounds of the mean of many calls."""
    rounds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(CALLS):
            call()
        rounds.append((time.perf_counter() - start) / CALLS * 1e6)
    return round(statistics.median(rounds), 1)


def wsgi(app: Any) -> Callable[[], object]:
    """One POST through the whole Flask application."""
    body = json.dumps({"data": {"ndarray": [TEXT]}}).encode()

    def call() -> object:
        environ = {
            "REQUEST_METHOD": "POST", "PATH_INFO": "/api/v1.0/predictions", "SCRIPT_NAME": "",
            "QUERY_STRING": "", "SERVER_NAME": "localhost", "SERVER_PORT": "9000",
            "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "localhost",
            "CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(body)),
            "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(), "wsgi.multithread": True, "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }  # fmt: skip
        return b"".join(app(environ, lambda status, headers, exc_info=None: None))

    return call


def parts() -> dict[str, float]:
    """Microseconds of each part for a request with one text."""
    node = Model()
    node._start_serving(Instant())
    store = SeldonMetrics(os.getpid)
    app = wrapper.get_rest_microservice(node, store)
    plain = wrapper.get_rest_microservice(PlainInstant(), SeldonMetrics(os.getpid))
    message = {"data": {"ndarray": [TEXT]}}
    request = payload.parse(message, node.settings)
    predictions = Instant().classify([TEXT])
    tokenizer = load_tokenizer(open_artifact(models.default()), max_tokens=0, overlap=128)
    meta = answer.build_meta(None)
    proto = answer.to_proto(answer.build(request, predictions, meta))
    incoming = type(proto)()
    incoming.data.ndarray.extend([TEXT])
    return {
        "whole WSGI request, ours": microseconds(wsgi(app)),
        "whole WSGI request, plain class": microseconds(wsgi(plain)),
        "predict_raw, ours": microseconds(lambda: node.predict_raw(message)),
        "predict_raw over gRPC, ours": microseconds(lambda: node.predict_raw(incoming)),
        "parse the payload": microseconds(lambda: payload.parse(message, node.settings)),
        "tokenize": microseconds(lambda: tokenizer.encode([TEXT], "end")),
        "tags and meta": microseconds(
            lambda: answer.build_meta(None)["tags"].update(answer_facts(node.identity, predictions))
        ),
        "build the answer": microseconds(lambda: answer.build(request, predictions, meta)),
        "count the metrics": microseconds(
            lambda: node.recorder.record(metrics.prediction_metrics(predictions), "predict")
        ),
        "serialise the answer": microseconds(
            lambda: json.dumps(answer.build(request, predictions, meta))
        ),
    }


def inside_onnx_runtime(model: Path) -> dict[str, Any]:
    """Part of the wall-clock time during which a run of the model was under way."""
    clock = Path(tempfile.mkdtemp()) / "clock"
    target = targets.seldon(
        "timed", "lab.benchmarks.contenders.timed.TimedModel",
        MODEL_URI=str(model), RUN_CLOCK=str(clock), GRPC_WORKERS="0",
    )  # fmt: skip
    with target.server as server:
        server.wait_until_ready()
        bodies = target.write_bodies(texts.sentences(256))
        found = {}
        for concurrency in (1, 16):
            load.wrk(target.url, bodies, concurrency=concurrency, seconds=1)
            runs, spent = struct.unpack("dd", clock.read_bytes())
            measured = load.wrk(target.url, bodies, concurrency=concurrency, seconds=5)
            later, then = struct.unpack("dd", clock.read_bytes())
            found[f"at {concurrency}"] = {
                "share_of_time": round((then - spent) / measured["seconds"], 3),
                "requests_per_s": measured["requests_per_s"],
                "requests_a_run": round(measured["requests"] / (later - runs), 2),
            }
    return found


def main() -> None:
    """Measure and write the result."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    repairs.apply()
    result = {
        "microseconds": parts(),
        "inside_onnx_runtime": {
            "default": inside_onnx_runtime(models.default()),
            "base int8": inside_onnx_runtime(models.base().int8),
        },
    }
    print(machine.write("overhead", result).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
