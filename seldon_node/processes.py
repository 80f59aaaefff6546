"""The processes of the service: what they need, who replaces them, and how they end on SIGTERM."""

from __future__ import annotations

import functools
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import grpc
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from jsonschema.validators import validator_for
from seldon_core import gunicorn_utils, metadata, microservice, wrapper

from roberta_sentiment import container
from roberta_sentiment.errors import StartError
from roberta_sentiment.serving import grpc_stop
from roberta_sentiment.serving.patching import patch
from seldon_node import health, host_limits, logs, preflight, supervisor
from seldon_node.grpc_errors import METHODS
from seldon_node.node import SentimentNode
from seldon_node.restarts import Restarts, exit_code, record_exits

logger = logging.getLogger(__name__)


class _GrpcServers:
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
    """What the parts of the start share.

    Attributes:
        grpc_worker: which gRPC worker this process is; None for any other.
        reserved: sockets that hold a port as long as the process runs.
        restarts: counts the servers that are replaced.
    """

    grpc_worker: int | None = None
    reserved: Sequence[socket.socket] = ()
    restarts: Restarts


_COLLECT_AFTER = (700, 10, 10)
"""Python's own thresholds, which `preflight` raises for the start."""
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
        workers.set_private(worker, bound=False)
    else:
        workers.set_private(worker, bound=True)


def repair() -> None:
    """Run every server under a supervisor that replaces the dead and ends all on SIGTERM."""
    _repair_grpc_servers()
    _repair_gunicorn()
    _check_before_start()
    # `jsonschema.validate` would check Seldon's own schema, too, which takes each server 20 ms.
    patch(metadata, "validate", lambda data, schema: validator_for(schema)(schema).validate(data))
    patch(microservice, "start_servers", _run_servers)
    patch(microservice, "_make_grpc_server", _GrpcServers)
    patch(microservice, "_wait_forever", _serve_until_sigterm)


def _repair_grpc_servers() -> None:
    """Give each gRPC worker a socket of its own for health, and know its running calls."""

    class TrackedServicer(wrapper.SeldonModelGRPC):  # type: ignore[misc]
        """The servicer whose running calls are known when the server stops."""

    for method in METHODS:
        setattr(TrackedServicer, method, _calls.tracked(getattr(wrapper.SeldonModelGRPC, method)))

    def get_grpc_server(user_object: Any, *args: Any, **kwargs: Any) -> Any:
        server = original(user_object, *args, **kwargs)
        workers = getattr(user_object, "workers", None)
        if workers is not None and _this_process.grpc_worker is not None:
            _listen_privately(server, workers, _this_process.grpc_worker)
        return server

    patch(wrapper, "SeldonModelGRPC", TrackedServicer)
    original = patch(wrapper, "get_grpc_server", get_grpc_server)


def _repair_gunicorn() -> None:
    """Count the workers that gunicorn replaces, and end them with their arbiter."""

    def load_config(self: Any) -> None:
        """A gunicorn worker notices the death of its arbiter only at its next connection."""
        original_config(self)
        self.cfg.set("post_fork", lambda arbiter, worker: container.end_with_parent())
        is_rest = isinstance(self, gunicorn_utils.UserModelApplication)
        count = _count_worker(_this_process.restarts, "rest" if is_rest else "metrics")
        self.cfg.set("child_exit", count)

    def reap_workers(arbiter: Arbiter) -> None:
        record_exits(arbiter)
        original_reap(arbiter)

    original_config = patch(gunicorn_utils.StandaloneApplication, "load_config", load_config)
    original_reap = patch(Arbiter, "reap_workers", reap_workers)


def _check_before_start() -> None:
    """Check limits and ports in the last function that the wrapper calls before the servers."""

    def make_metrics_server(metrics: Any, args: Any) -> Any:
        _check_limits(args)
        _this_process.reserved = _reserve_ports(args)
        _this_process.restarts = Restarts(metrics)
        return original(metrics, args)

    original = patch(microservice, "_make_rest_metrics_server", make_metrics_server)


def _run_servers(
    rest: Callable[[], None],
    grpc_servers: _GrpcServers | None,
    custom: Callable[[], None] | None,
    metrics: Callable[[], None] | None,
) -> NoReturn:
    """Run the servers of the service until it ends, then end the process."""
    sys.excepthook = sys.__excepthook__
    logs.install()
    gc.freeze()  # what all processes share stays shared
    gc.set_threshold(*_COLLECT_AFTER)
    servers = [supervisor.Server("REST server", functools.partial(_run_gunicorn, rest))]
    servers += grpc_servers.servers() if grpc_servers else []
    if metrics:
        run_metrics = functools.partial(_run_gunicorn, metrics)
        servers.append(supervisor.Server("metrics server", run_metrics))
    servers += [supervisor.Server("custom service", custom)] if custom else []
    code = supervisor.Supervisor(servers, _count_restart).run()
    if code:
        sys.stderr.write("cannot start: a server failed; the log above says which and why\n")
    logging.shutdown()
    os._exit(code)  # nothing that a server has left behind may hold the container back


def _count_restart(server: supervisor.Server, code: int) -> None:
    _this_process.restarts.count(server.name.split()[0].lower(), code)


def _count_worker(restarts: Restarts, server: str) -> Callable[[Any, Any], None]:
    """Gunicorn's hook for a worker that has ended; none is replaced while the arbiter ends."""

    def child_exit(arbiter: Any, worker: Any) -> None:
        if arbiter.LISTENERS:
            code = exit_code(getattr(worker, "end", None))
            restarts.count(server, code, hung=worker.aborted)

    return child_exit


def _run_gunicorn(serve: Callable[[], None]) -> None:
    """Run a gunicorn server; a worker that fails to boot during the end logs no stack trace."""
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
