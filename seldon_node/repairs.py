"""Repairs of defects in seldon-core 1.19.0's Python wrapper, each on its own.

The numbers are those of github.com/SeldonIO/seldon-core. A repair whose defect has been mended
upstream is deleted here; until then SELDON_REPAIRS_OFF (names, comma-separated) leaves one out.

    http_errors      a wrong path, method or content type is a 500; no limit for the body (4930)
    grpc_errors      every error is UNKNOWN with an empty text, messages end at 4 MiB (3924)
    metrics          threads lose increments (2704), a reward of 0 is not counted (2115)
    processes        SIGTERM never ends the gRPC side, a dead gRPC worker is not replaced (7113)
"""

from __future__ import annotations

import bisect
import functools
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from multiprocessing.managers import RemoteError, SyncManager
from typing import Any, NoReturn

import grpc
from gunicorn.errors import HaltServer
from seldon_core import flask_utils, gunicorn_utils, microservice, wrapper
from seldon_core import metrics as wrapper_metrics
from seldon_core.proto import prediction_pb2

from roberta_sentiment.errors import StartError
from seldon_node import feedback, health, http, preflight, supervisor
from seldon_node.node import SentimentNode

logger = logging.getLogger(__name__)

BOOT_FAILED = supervisor.BOOT_FAILED

_OFF = "SELDON_REPAIRS_OFF"
_applied: set[str] = set()
_originals: dict[str, Callable[..., Any]] = {"metrics": wrapper_metrics.SeldonMetrics.update}


def apply() -> None:
    """Repair the wrapper in this process; a second call changes nothing."""
    off = {name.strip() for name in os.environ.get(_OFF, "").split(",")}
    for name, repair in _REPAIRS.items():
        if name not in off and name not in _applied:
            repair()
            _applied.add(name)


def original(name: str) -> Callable[..., Any]:
    """What a repair replaced, for the test that shows the defect."""
    return _originals[name]


# HTTP ---------------------------------------------------------------------------------------


def _repair_http_errors() -> None:
    """Give the Flask application our error answers and limits, and the node its metrics store."""
    original = wrapper.get_rest_microservice

    def get_rest_microservice(user_model: Any, seldon_metrics: Any) -> Any:
        app = original(user_model, seldon_metrics)
        if isinstance(user_model, SentimentNode):
            user_model.recorder.store = seldon_metrics
            http.install(app, user_model)
        return app

    wrapper.get_rest_microservice = get_rest_microservice


# gRPC ---------------------------------------------------------------------------------------

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
}


def code_of(http_status: int) -> grpc.StatusCode:
    """The gRPC code that means the same as an HTTP status."""
    return _CODES.get(http_status, grpc.StatusCode.INTERNAL)


def _repair_grpc_errors() -> None:
    """Let the gRPC client see the code and the sentence that a REST client sees."""
    original = wrapper.get_grpc_server

    class ExplainingServicer(wrapper.SeldonModelGRPC):  # type: ignore[misc]
        """The wrapper's servicer with errors that reach the client."""

    for method in (
        "Predict", "SendFeedback", "TransformInput", "TransformOutput", "Route", "Aggregate",
        "Metadata", "ModelMetadata", "GraphMetadata",
    ):  # fmt: skip
        setattr(ExplainingServicer, method, _explaining(getattr(wrapper.SeldonModelGRPC, method)))

    def get_grpc_server(
        user_model: Any, seldon_metrics: Any, annotations: dict[str, str] | None = None, **rest: Any
    ) -> Any:
        annotations = dict(annotations or {})
        if isinstance(user_model, SentimentNode):
            user_model.recorder.store = seldon_metrics
            limit = str(user_model.settings.max_body_bytes)
            annotations.setdefault(flask_utils.ANNOTATION_GRPC_MAX_MSG_SIZE, limit)
        return original(user_model, seldon_metrics, annotations, **rest)

    wrapper.SeldonModelGRPC = ExplainingServicer
    wrapper.get_grpc_server = get_grpc_server


def _explaining(method: Callable[..., Any]) -> Callable[..., Any]:
    def answer(servicer: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            response = method(servicer, request, context)
        except NotImplementedError as error:
            code, info = 501, str(error)
        except flask_utils.SeldonMicroserviceException as error:
            code, info = error.status_code, error.message
        except Exception:
            logger.exception("a request failed for a reason of our own")
            code, info = 500, "the server failed; its log has the details"
        else:
            status = getattr(response, "status", None)
            if status is None or status.status != prediction_pb2.Status.FAILURE:
                return response
            code, info = status.code, status.info
        return context.abort(code_of(code), info)

    return answer


# Metrics ------------------------------------------------------------------------------------


_PAUSE_S = 0.25
"""Least time between two hand-overs to the metrics store; each takes the CPU from a run."""


def _repair_metrics() -> None:
    """Count every increment, count a reward of 0, and survive the loss of the store.

    The store keeps a dictionary for each process. One thread of that process adds up what requests
    leave to it and hands the sums to the store, which is another process. So no increment meets
    another, and no request waits.
    """
    making = threading.Lock()

    def update(self: Any, custom_metrics: list[dict[str, Any]], method: str) -> None:
        if not custom_metrics:
            return
        with making:
            counted = self.__dict__.get("counted")
            if counted is None or counted.pid != os.getpid():
                counted = self.counted = _Counted(self)
        counted.add(custom_metrics, method)

    def update_reward(self: Any, reward: float) -> None:
        if wrapper_metrics.legacy_mode or not 0 <= reward <= feedback.LARGEST_REWARD:
            return
        metrics = [
            {"type": "COUNTER", "key": wrapper_metrics.FEEDBACK_KEY, "value": 1},
            {"type": "COUNTER", "key": wrapper_metrics.FEEDBACK_REWARD_KEY, "value": reward},
        ]
        self.update(metrics, wrapper_metrics.FEEDBACK_METRIC_METHOD_TAG)

    wrapper_metrics.SeldonMetrics.update = update
    wrapper_metrics.SeldonMetrics.update_reward = update_reward


class _Counted:
    """What this process has counted since it was forked, known to one thread alone."""

    def __init__(self, store: Any) -> None:
        self.pid = os.getpid()
        self._store = store
        self._waiting: deque[tuple[list[dict[str, Any]], str]] = deque()
        self._sums: dict[Any, Any] = {}
        self._changed = threading.Event()
        threading.Thread(target=self._hand_over, name="metrics", daemon=True).start()

    def add(self, metrics: list[dict[str, Any]], method: str) -> None:
        """Count; the store has it a moment later."""
        self._waiting.append((metrics, method))
        self._changed.set()

    def _hand_over(self) -> None:
        while self._changed.wait():
            self._changed.clear()
            while self._waiting:
                metrics, method = self._waiting.popleft()
                for metric in metrics:
                    _add(self._sums, metric, method)
            try:
                self._store.data[self._store.worker_id_func()] = self._sums
            except (OSError, EOFError, RemoteError) as error:
                logger.error("the metrics store does not answer: %r", error)
            time.sleep(_PAUSE_S)


def _add(data: dict[Any, Any], metric: dict[str, Any], method: str) -> None:
    """Add one metric to a worker's dictionary, in the form that the wrapper's exporter reads."""
    kind, value = metric.get("type", "COUNTER"), metric["value"]
    tags = {**metric.get("tags", {}), "method": method}
    key = (kind, metric["key"], wrapper_metrics.SeldonMetrics._generate_tags_key(tags))
    entry = data.setdefault(key, {"value": None, "tags": tags})
    if kind == "TIMER":
        seconds = value / 1000
        counts, total = entry["value"] or ([0.0] * (len(wrapper_metrics.BINS) - 1), 0.0)
        counts[bisect.bisect_right(wrapper_metrics.BINS, seconds) - 1] += 1
        entry["value"] = (counts, total + seconds)
    elif kind == "COUNTER":
        entry["value"] = (entry["value"] or 0) + value
    else:
        entry["value"] = value


# Processes ----------------------------------------------------------------------------------


class _GrpcSide:
    """Stands where the wrapper expects a function that runs the gRPC servers."""

    def __init__(self, user_object: Any, metrics: Any, args: Any, annotations: Any) -> None:
        self._arguments = (user_object, metrics, args, annotations)
        if isinstance(user_object, SentimentNode):
            user_object.peers = health.Peers(args.grpc_workers, args.grpc_port)

    def servers(self) -> list[supervisor.Server]:
        """One server a worker."""
        args = self._arguments[2]
        return [
            supervisor.Server(f"gRPC worker {i}", functools.partial(self._run, i, args.grpc_port))
            for i in range(args.grpc_workers)
        ]

    def _run(self, worker: int, port: int) -> None:
        _this_process.grpc_worker = worker
        microservice._run_grpc_server(*self._arguments, f"0.0.0.0:{port}")


class _ThisProcess:
    """Which gRPC worker this process is, None if it is none."""

    grpc_worker: int | None = None


_this_process = _ThisProcess()


def _reserve_ports(args: Any) -> list[socket.socket]:
    """Refuse the start where a port is taken; keep that of gRPC, which others could join."""
    ports = {"REST": args.http_port, "metrics": args.metrics_port}
    if args.grpc_workers > 0:
        ports["gRPC"] = args.grpc_port
    try:
        held = {server: preflight.reserve(server, port) for server, port in ports.items()}
    except StartError as error:
        raise SystemExit(f"cannot start: {error.message}") from None
    for server in ("REST", "metrics"):
        held.pop(server).close()
    return [*held.values()]


def _listen_privately(server: grpc.Server, peers: health.Peers, worker: int) -> None:
    """Let the health check reach this gRPC worker alone; without that it asks the shared port."""
    try:
        server.add_insecure_port(f"unix-abstract:{peers.private_address(worker)}")
    except RuntimeError as error:
        logger.warning("gRPC worker %d has no private socket: %s", worker, error)
        peers.note_private(worker, bound=False)
    else:
        peers.note_private(worker, bound=True)


def _repair_processes() -> None:
    """Run every server under a supervisor that replaces the dead and ends all on SIGTERM."""
    original_server = wrapper.get_grpc_server
    original_metrics = microservice.SeldonMetrics
    original_metrics_server = microservice._make_rest_metrics_server
    original_config = gunicorn_utils.StandaloneApplication.load_config
    stores: list[Any] = []
    reserved: list[socket.socket] = []

    def get_grpc_server(user_object: Any, *args: Any, **kwargs: Any) -> Any:
        server = original_server(user_object, *args, **kwargs)
        peers = getattr(user_object, "peers", None)
        if peers is not None and _this_process.grpc_worker is not None:
            _listen_privately(server, peers, _this_process.grpc_worker)
        return server

    def make_manager() -> SyncManager:
        manager = SyncManager(ctx=multiprocessing.get_context("fork"))
        manager.start(supervisor.end_with_parent)
        return manager

    def make_metrics(*args: Any, **kwargs: Any) -> Any:
        stores.append(original_metrics(*args, **kwargs))
        return stores[-1]

    def make_metrics_server(metrics: Any, args: Any) -> Any:
        """The last that the wrapper makes before it starts the servers."""
        reserved.extend(_reserve_ports(args))
        return original_metrics_server(metrics, args)

    def start_servers(
        rest: Callable[[], None],
        grpc_side: _GrpcSide | None,
        custom: Callable[[], None] | None,
        metrics: Callable[[], None] | None,
    ) -> NoReturn:
        sys.excepthook = sys.__excepthook__
        servers = [supervisor.Server("REST server", functools.partial(_run_gunicorn, rest))]
        servers += grpc_side.servers() if grpc_side else []
        if metrics:
            run_metrics = functools.partial(_run_gunicorn, metrics)
            servers.append(supervisor.Server("metrics server", run_metrics))
        servers += [supervisor.Server("custom service", custom)] if custom else []
        is_sound = lambda: all(store._manager._process.is_alive() for store in stores)  # noqa: E731
        sys.exit(supervisor.Supervisor(servers, is_sound).run())

    def load_config(self: Any) -> None:
        """A gunicorn worker notices the death of its arbiter only at its next connection."""
        original_config(self)
        self.cfg.set("post_fork", lambda arbiter, worker: supervisor.end_with_parent())

    wrapper.get_grpc_server = get_grpc_server
    gunicorn_utils.StandaloneApplication.load_config = load_config
    wrapper_metrics.Manager = make_manager
    microservice.SeldonMetrics = make_metrics
    microservice._make_rest_metrics_server = make_metrics_server
    microservice.start_servers = start_servers
    microservice._make_grpc_server = _GrpcSide
    microservice._wait_forever = _serve_until_sigterm


def _run_gunicorn(serve: Callable[[], None]) -> None:
    """Run a gunicorn server; a worker that fails to boot during the end is no stack trace."""
    try:
        serve()
    except HaltServer as error:
        sys.exit(error.exit_status)


def _serve_until_sigterm(server: grpc.Server) -> None:
    """Keep a gRPC server until SIGTERM, then let its running requests end.

    The kernel may hand the signal to one of gRPC's own threads, which wakes no Python code; so the
    C handler itself writes into a pipe that this thread reads.
    """
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    os.read(awake, 1)
    server.stop(supervisor.GRACE_S).wait()


_REPAIRS: dict[str, Callable[[], None]] = {
    "http_errors": _repair_http_errors,
    "grpc_errors": _repair_grpc_errors,
    "metrics": _repair_metrics,
    "processes": _repair_processes,
}
