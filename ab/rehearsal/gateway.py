"""A stand-in for Seldon's executor, for rehearsals on one machine.

    python -m ab.rehearsal.gateway --sdep NAME --predictor NAME --http_port 8000 --grpc_port 5001

takes the arguments and the variables (ENGINE_PREDICTOR, SELDON_ENABLE_ROUTING_INJECTION) that the
operator gives to the container `seldon-container-engine`; `Executor` is the same in this process.

What it claims is what the real executor 1.19 did in the recordings of `tests/fixtures/executor`:
REST and gRPC in front of one MODEL, or of a RANDOM_ABTEST or ROUTER over MODELs, in the Seldon
protocol. It does not claim: graphs with a TRANSFORMER, OUTPUT_TRANSFORMER or COMBINER (refused at
start), `protocol: v2` (refused), the annotations of timeouts and message sizes (not read), the
request logger, Kafka, TLS and tracing (ignored), summaries beside the histograms.
"""

from __future__ import annotations

import base64
import json
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer
import yaml
from werkzeug.serving import make_server

from ab.errors import DataError
from ab.rehearsal.gateway_grpc import SIZES, GrpcDoor
from ab.rehearsal.gateway_metrics import ExecutorMetrics
from ab.rehearsal.gateway_rest import QuietHandler, RestDoor
from ab.rehearsal.graph import Predictor, read_graph

_GRPC_THREADS = 32
_POLL_S = 0.05
_PANIC_EXIT_CODE = 2
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
        self._rest = make_server(
            address, http_port, RestDoor(predictor, draw, metrics), threaded=True,
            request_handler=QuietHandler,
        )  # fmt: skip
        self._door = GrpcDoor(predictor, draw, metrics, self._panic)
        self._grpc = grpc.server(
            ThreadPoolExecutor(_GRPC_THREADS), options=[*SIZES, ("grpc.so_reuseport", 0)]
        )
        self._grpc.add_generic_rpc_handlers((self._door,))
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
            self._stop()
            thread.join()
            self._door.close()

    def _panic(self) -> None:
        self.panicked.set()
        threading.Thread(target=self._stop).start()

    def _stop(self) -> None:
        if not self._stopped.is_set():
            self._stopped.set()
            self._grpc.stop(1).wait()
            self._rest.shutdown()
            self._rest.server_close()


def read_predictor(engine_predictor: str, file: Path | None, name: str) -> dict[str, Any]:
    """The predictor to serve.

    Args:
        engine_predictor: base64 of its JSON, as the operator hands it over; empty without one.
        file: a SeldonDeployment with endpoints, YAML or JSON; it wins.
        name: of the predictor in it.

    Raises:
        DataError: there is none, or it can't be read.
    """
    try:
        if file is None:
            return dict(json.loads(base64.b64decode(engine_predictor, validate=True)))
        predictors = yaml.safe_load(file.read_text(encoding="utf-8"))["spec"]["predictors"]
        return dict(next(each for each in predictors if each["name"] == name))
    except StopIteration:
        raise DataError(f"--file has no predictor {name!r}") from None
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        raise DataError(f"no predictor in ENGINE_PREDICTOR or --file: {error}") from None


def command(
    sdep: Annotated[str, typer.Option("--sdep")],
    predictor: Annotated[str, typer.Option("--predictor")],
    namespace: Annotated[str, typer.Option("--namespace")] = "default",
    http_port: Annotated[int, typer.Option("--http_port")] = 8000,
    grpc_port: Annotated[int, typer.Option("--grpc_port")] = 5001,
    protocol: Annotated[str, typer.Option("--protocol")] = "seldon",
    file: Annotated[Path | None, typer.Option("--file")] = None,
    engine_predictor: Annotated[str, typer.Option(envvar="ENGINE_PREDICTOR")] = "",
    inject_routing: Annotated[str, typer.Option(envvar="SELDON_ENABLE_ROUTING_INJECTION")] = "",
) -> None:
    """Serve a predictor until SIGTERM."""
    if protocol != "seldon":
        raise DataError(f"protocol {protocol}: the stand-in executor knows only seldon")
    graph = read_graph(read_predictor(engine_predictor, file, predictor))
    served = Predictor(predictor, graph, sdep, namespace, inject_routing != "")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with Executor(served, http_port, grpc_port, "0.0.0.0").serve() as executor:  # noqa: S104  as the real one
        while not stop.wait(0.1):
            if executor.panicked.is_set():
                sys.exit(_PANIC_EXIT_CODE)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False)
    app.command(context_settings=_SETTINGS)(command)
    app()
