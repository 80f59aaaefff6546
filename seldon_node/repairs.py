"""Repairs of defects in seldon-core 1.19.0's Python wrapper, each on its own.

The numbers are those of github.com/SeldonIO/seldon-core. A repair whose defect has been fixed
upstream is deleted here; until then SELDON_REPAIRS_OFF (names, comma-separated) leaves one out.

    http_errors      a wrong path, method or content type is a 500; no limit for the body (4930);
                     any web page may ask
    rest_server      a client that is slow, silent or does not read holds a thread
    grpc_errors      every error is UNKNOWN with an empty text, messages end at 4 MiB (3924)
    grpc_server      a call whose message does not come holds a thread
    metrics          threads and ending workers lose counts (2704), series grow (2766, 2873)
    processes        SIGTERM never ends the gRPC side or cancels calls, a dead gRPC worker is not
                     replaced (7113)
"""

from __future__ import annotations

import functools
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import grpc
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from seldon_core import gunicorn_utils, microservice, wrapper

from roberta_sentiment.errors import StartError
from seldon_node import (
    grpc_server,
    grpc_stop,
    health,
    host_limits,
    logs,
    metrics_page,
    preflight,
    rest_app,
    rest_worker,
    supervisor,
)
from seldon_node.metrics_store import MetricsStore
from seldon_node.node import SentimentNode
from seldon_node.restarts import Restarts, exit_code, note_ends

logger = logging.getLogger(__name__)

BOOT_FAILED = supervisor.BOOT_FAILED

_OFF = "SELDON_REPAIRS_OFF"
_applied: set[str] = set()


def apply() -> None:
    """Repair the wrapper in this process; a second call changes nothing."""
    off = {name.strip() for name in os.environ.get(_OFF, "").split(",")} - {""}
    repairs = {name: repair for name, repair in _REPAIRS.items() if name not in off}
    if off:
        _warn_of_left_out(off)
    for name, repair in {**repairs, "counting": _connect_to_the_store}.items():
        if name not in _applied:
            repair()
            _applied.add(name)


def _warn_of_left_out(off: set[str]) -> None:
    logger.warning(
        "%s leaves out %s: metrics may be incomplete; known are %s",
        _OFF, ", ".join(sorted(off)), ", ".join(_REPAIRS),
    )  # fmt: skip


def _connect_to_the_store() -> None:
    """Let the node count in the store of its server, whichever repairs are left out."""
    make_rest, make_grpc = wrapper.get_rest_microservice, wrapper.get_grpc_server

    def get_rest_microservice(user_model: Any, seldon_metrics: Any) -> Any:
        _connect(user_model, seldon_metrics)
        return make_rest(user_model, seldon_metrics)

    def get_grpc_server(user_model: Any, seldon_metrics: Any, *args: Any, **rest: Any) -> Any:
        _connect(user_model, seldon_metrics)
        return make_grpc(user_model, seldon_metrics, *args, **rest)

    wrapper.get_rest_microservice = get_rest_microservice
    wrapper.get_grpc_server = get_grpc_server


def _connect(user_model: Any, store: Any) -> None:
    if isinstance(user_model, SentimentNode):
        user_model.recorder.connect(store, user_model.labels)


# Metrics ------------------------------------------------------------------------------------


def _repair_metrics() -> None:
    """Keep the sums in memory that all processes share, and render them as Prometheus wants."""
    microservice.SeldonMetrics = MetricsStore
    wrapper.get_metrics_microservice = metrics_page.make_app


# Processes ----------------------------------------------------------------------------------


class _GrpcSide:
    """Stands where the wrapper expects a function that runs the gRPC servers."""

    def __init__(self, user_object: Any, metrics: Any, args: Any, annotations: Any) -> None:
        self._arguments = (user_object, metrics, args, annotations)
        if isinstance(user_object, SentimentNode):
            user_object.workers = health.WorkerHealth(args.grpc_workers, args.grpc_port)

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
_calls = grpc_stop.Calls()


def _reserve_ports(args: Any) -> list[socket.socket]:
    """Refuse the start where a port is taken; keep that of gRPC, which others could join."""
    ports = {"REST": args.http_port, "metrics": args.metrics_port}
    if args.grpc_workers > 0:
        ports["gRPC"] = args.grpc_port
    try:
        preflight.check(os.environ)  # again, for who starts the wrapper without PYTHONPATH
        held = {server: preflight.reserve(server, port) for server, port in ports.items()}
    except StartError as error:
        raise SystemExit(f"cannot start: {error.message}") from None
    for server in ("REST", "metrics"):
        held.pop(server).close()
    return [*held.values()]


def _check_limits(args: Any) -> None:
    """Refuse the start where the container grants too little."""
    try:
        host_limits.check_temporary_files()
        host_limits.check_tasks(
            host_limits.tasks_needed(
                args.workers, args.threads, args.grpc_workers, args.grpc_threads
            )
        )
    except StartError as error:
        raise SystemExit(f"cannot start: {error.message}") from None


def _listen_privately(server: grpc.Server, workers: health.WorkerHealth, worker: int) -> None:
    """Let the health check reach this gRPC worker alone; without that it asks the shared port."""
    try:
        server.add_insecure_port(f"unix-abstract:{workers.private_address(worker)}")
    except RuntimeError as error:
        logger.warning("gRPC worker %d has no private socket: %s", worker, error)
        workers.note_private(worker, bound=False)
    else:
        workers.note_private(worker, bound=True)


def _repair_processes() -> None:
    """Run every server under a supervisor that replaces the dead and ends all on SIGTERM."""
    original_server = wrapper.get_grpc_server
    original_metrics_server = microservice._make_rest_metrics_server
    original_config = gunicorn_utils.StandaloneApplication.load_config
    original_reap = Arbiter.reap_workers
    reserved: list[socket.socket] = []
    restarts: list[Restarts] = []

    def get_grpc_server(user_object: Any, *args: Any, **kwargs: Any) -> Any:
        server = original_server(user_object, *args, **kwargs)
        workers = getattr(user_object, "workers", None)
        if workers is not None and _this_process.grpc_worker is not None:
            _listen_privately(server, workers, _this_process.grpc_worker)
        return server

    def make_metrics_server(metrics: Any, args: Any) -> Any:
        """The last that the wrapper makes before it starts the servers."""
        _check_limits(args)
        reserved.extend(_reserve_ports(args))
        restarts.append(Restarts(metrics))
        return original_metrics_server(metrics, args)

    def start_servers(
        rest: Callable[[], None],
        grpc_side: _GrpcSide | None,
        custom: Callable[[], None] | None,
        metrics: Callable[[], None] | None,
    ) -> NoReturn:
        sys.excepthook = sys.__excepthook__
        logs.install()
        servers = [supervisor.Server("REST server", functools.partial(_run_gunicorn, rest))]
        servers += grpc_side.servers() if grpc_side else []
        if metrics:
            run_metrics = functools.partial(_run_gunicorn, metrics)
            servers.append(supervisor.Server("metrics server", run_metrics))
        servers += [supervisor.Server("custom service", custom)] if custom else []
        code = supervisor.Supervisor(servers, count_restart).run()
        if code:
            sys.stderr.write("cannot start: a server failed; the log above says which and why\n")
        logging.shutdown()
        os._exit(code)  # nothing that a server has left behind may hold the container back

    def count_restart(server: supervisor.Server, code: int) -> None:
        restarts[0].count(server.name.split()[0].lower(), code)

    def load_config(self: Any) -> None:
        """A gunicorn worker notices the death of its arbiter only at its next connection."""
        original_config(self)
        self.cfg.set("post_fork", lambda arbiter, worker: supervisor.end_with_parent())
        is_rest = isinstance(self, gunicorn_utils.UserModelApplication)
        self.cfg.set("child_exit", _count_worker(restarts[0], "rest" if is_rest else "metrics"))

    def reap_workers(arbiter: Arbiter) -> None:
        note_ends(arbiter)
        original_reap(arbiter)

    class TrackedServicer(wrapper.SeldonModelGRPC):  # type: ignore[misc]
        """The servicer whose running calls are known when the server stops."""

    for method in grpc_server.METHODS:
        setattr(TrackedServicer, method, _calls.tracked(getattr(wrapper.SeldonModelGRPC, method)))

    wrapper.SeldonModelGRPC = TrackedServicer
    wrapper.get_grpc_server = get_grpc_server
    gunicorn_utils.StandaloneApplication.load_config = load_config
    Arbiter.reap_workers = reap_workers
    microservice._make_rest_metrics_server = make_metrics_server
    microservice.start_servers = start_servers
    microservice._make_grpc_server = _GrpcSide
    microservice._wait_forever = _serve_until_sigterm


def _count_worker(restarts: Restarts, server: str) -> Callable[[Any, Any], None]:
    """Gunicorn's hook for a worker that has ended; none is replaced while the arbiter ends."""

    def child_exit(arbiter: Any, worker: Any) -> None:
        if arbiter.LISTENERS:
            code = exit_code(getattr(worker, "end", None))
            restarts.count(server, code, hung=worker.aborted)

    return child_exit


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
    grpc_stop.stop(_calls, supervisor.GRACE_S)


_REPAIRS: dict[str, Callable[[], None]] = {
    "http_errors": rest_app.repair,
    "rest_server": rest_worker.repair,
    "grpc_server": grpc_server.repair_server,
    "grpc_errors": grpc_server.repair_errors,
    "metrics": _repair_metrics,
    "processes": _repair_processes,
}
