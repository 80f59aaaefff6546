"""A stand-in for Seldon's executor, for rehearsals on one machine.

    python -m rehearsal.gateway --sdep NAME --predictor NAME --http_port 8000 --grpc_port 5001

takes the arguments and the variables (ENGINE_PREDICTOR, SELDON_ENABLE_ROUTING_INJECTION) that the
operator gives to the container `seldon-container-engine`; `Executor` is the same in this process.

What it claims is what the real executor 1.19 did in the recordings of `tests/fixtures/executor`:
REST and gRPC in front of one MODEL, or of a RANDOM_ABTEST or ROUTER over MODELs, in Seldon's
protocol and (without ROUTER) in V2. It does not claim: graphs with a TRANSFORMER,
OUTPUT_TRANSFORMER or COMBINER (refused at start), metadata of a graph, CloudEvents as requests, the
annotations of timeouts and message sizes (not read), the request logger, Kafka, TLS and tracing
(ignored), summaries beside the histograms.
"""

from __future__ import annotations

import base64
import json
import random
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer
import yaml
from werkzeug.serving import make_server

from rehearsal.gateway_grpc import SIZES, GrpcService
from rehearsal.gateway_metrics import ExecutorMetrics
from rehearsal.gateway_rest import QuietHandler, RestApi
from rehearsal.graph import Predictor, read_graph
from roberta_sentiment.errors import DataError
from roberta_sentiment.tools.command_line import one_sentence

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_GRPC_THREADS = 32
_POLL_S = 0.05
_PANIC_S = 1.0
"""For the answer of the call that panicked."""

_PANIC_EXIT_CODE, _CUT_EXIT_CODE = 2, 1
_SETTINGS = {"ignore_unknown_options": True, "allow_extra_args": True}


class Executor:
    """Serves one predictor over REST and gRPC.

    Args:
        predictor: to serve.
        http_port, grpc_port: to listen on; 0 takes a free one.
        address: to listen on.
        draw: a number from 0 to below 1 for each RANDOM_ABTEST.

    Attributes:
        panicked: set when a gRPC call has ended it; the real one exits with code 2.
    """

    def __init__(
        self,
        predictor: Predictor,
        http_port: int = 0,
        grpc_port: int = 0,
        address: str = "127.0.0.1",
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.panicked = threading.Event()
        metrics = ExecutorMetrics(predictor)
        self._rest_api = RestApi(predictor, draw, metrics)
        self._rest = make_server(
            address, http_port, self._rest_api, threaded=True, request_handler=QuietHandler
        )
        self._grpc_service = GrpcService(predictor, draw, metrics, self._panic)
        self._grpc = grpc.server(
            ThreadPoolExecutor(_GRPC_THREADS), options=[*SIZES, ("grpc.so_reuseport", 0)]
        )
        self._grpc.add_generic_rpc_handlers((self._grpc_service,))
        self.http_port = int(self._rest.server_port)
        self.grpc_port = self._grpc.add_insecure_port(f"{address}:{grpc_port}")
        self._stopped = threading.Event()

    @property
    def url(self) -> str:
        """REST address without a path."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def target(self) -> str:
        """gRPC address."""
        return f"127.0.0.1:{self.grpc_port}"

    @contextmanager
    def serve(self) -> Iterator[Executor]:
        """Serve until the block ends or a gRPC call panics."""
        thread = threading.Thread(target=self._rest.serve_forever, args=(_POLL_S,), daemon=True)
        thread.start()
        self._grpc.start()
        try:
            yield self
        finally:
            self.stop(0)
            thread.join()
            self._grpc_service.close()

    def stop(self, graceful_timeout_s: float) -> bool:
        """Refuse new connections, and wait for the running requests.

        Args:
            graceful_timeout_s: after which they are cut.

        Returns:
            Whether all have ended.
        """
        if self._stopped.is_set():
            return True
        self._stopped.set()
        ended = self._grpc.stop(graceful_timeout_s or None)
        self._rest.shutdown()
        self._rest.server_close()
        is_idle = self._rest_api.wait_until_idle(graceful_timeout_s)
        return ended.wait(graceful_timeout_s) and is_idle

    def _panic(self) -> None:
        self.panicked.set()
        threading.Thread(target=self.stop, args=(_PANIC_S,)).start()


def read_predictor(engine_predictor: str, file: Path | None, name: str) -> dict[str, Any]:
    """The predictor to serve.

    Args:
        engine_predictor: base64 of its JSON, as the operator passes it; empty without one.
        file: a SeldonDeployment with endpoints, YAML or JSON; it wins.
        name: of the predictor in it.

    Raises:
        DataError: there is none, or it can't be read.
    """
    try:
        if file is None:
            return dict(json.loads(base64.b64decode(engine_predictor, validate=True)))
        predictors = yaml.safe_load(file.read_text(encoding="utf-8"))["spec"]["predictors"]
        named = {each["name"]: dict(each) for each in predictors}
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        raise DataError(f"no predictor in ENGINE_PREDICTOR or --file: {error}") from None
    if name not in named:
        raise DataError(f"--file has no predictor {name!r}")
    return named[name]


def read_seconds(duration: str) -> float:
    """Seconds of a duration such as 10s, 500ms or 1m30s; the executor refuses one without a unit.

    Raises:
        DataError: it is none.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", duration)
    if "".join(map("".join, parts)) != duration or not parts:
        raise DataError(f"{duration!r} is not a duration; write 10s")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def command(
    sdep: Annotated[str, typer.Option("--sdep")],
    predictor: Annotated[str, typer.Option("--predictor")],
    namespace: Annotated[str, typer.Option("--namespace")] = "default",
    http_port: Annotated[int, typer.Option("--http_port")] = 8000,
    grpc_port: Annotated[int, typer.Option("--grpc_port")] = 5001,
    protocol: Annotated[str, typer.Option("--protocol")] = "seldon",
    file: Annotated[Path | None, typer.Option("--file")] = None,
    shutdown_delay: Annotated[str, typer.Option("--shutdown_delay")] = "0s",
    graceful_timeout: Annotated[str, typer.Option("--graceful_timeout")] = "15s",
    engine_predictor: Annotated[str, typer.Option(envvar="ENGINE_PREDICTOR")] = "",
    inject_routing: Annotated[str, typer.Option(envvar="SELDON_ENABLE_ROUTING_INJECTION")] = "",
) -> None:
    """Serve a predictor until SIGTERM."""
    delay_s, grace_s = read_seconds(shutdown_delay), read_seconds(graceful_timeout)
    if protocol not in ("seldon", "v2", "kfserving"):
        raise DataError(f"protocol {protocol}: the stand-in executor knows seldon and v2")
    graph = read_graph(read_predictor(engine_predictor, file, predictor))
    v2, inject = protocol != "seldon", inject_routing != ""
    served = Predictor(predictor, graph, sdep, namespace, inject, v2)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with Executor(served, http_port, grpc_port, "0.0.0.0").serve() as executor:  # noqa: S104  as the real one
        while not stop.wait(_POLL_S):
            if executor.panicked.is_set():
                sys.exit(_PANIC_EXIT_CODE)
        time.sleep(delay_s)
        if not executor.stop(grace_s):
            sys.exit(_CUT_EXIT_CODE)


def main() -> None:
    """Run the command; an error is one sentence."""
    app = typer.Typer(add_completion=False)
    app.command(context_settings=_SETTINGS)(command)
    with one_sentence():
        app()


if __name__ == "__main__":
    main()
