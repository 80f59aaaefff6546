"""gunicorn's worker for the REST and the metrics server: `rest_server` under gunicorn's arbiter."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from gunicorn.workers.base import Worker
from seldon_core import gunicorn_utils
from waitress import wasyncore

from roberta_sentiment.serving.patching import patch
from seldon_node import host_limits
from seldon_node.rest_request import RefusedError
from seldon_node.rest_server import Limits, Server
from seldon_node.supervisor import BOOT_FAILED

COUNT_REFUSAL = "count_refusal"
"""Extension of the Flask application that counts what the server itself refuses."""

_HUNG_S = 60
_SPARE_DESCRIPTORS = 100


def repair() -> None:
    """Let gunicorn serve by our worker, without its control socket."""

    def load_config(self: Any) -> None:
        original(self)
        self.cfg.set("worker_class", RestWorker)
        self.cfg.set("control_socket_disable", True)
        # The loop says each second that it lives, however long a request takes.
        self.cfg.set("timeout", min(self.cfg.timeout, _HUNG_S))

    original = patch(gunicorn_utils.StandaloneApplication, "load_config", load_config)


class RestWorker(Worker):  # type: ignore[misc]  # gunicorn is untyped
    """Serves the application of a gunicorn worker by `rest_server.Server`."""

    alive: bool

    def run(self) -> None:
        """Serve until SIGTERM, the arbiter's end or the last request; then end what is running."""
        self._count: Callable[[str, str], None] = getattr(self.wsgi, "extensions", {}).get(
            COUNT_REFUSAL, lambda reason, path: None
        )
        (listener,) = self.sockets  # the wrapper binds one address
        try:
            server = Server(self.wsgi, listener.sock, self._limits(), self._report)
        except RuntimeError as error:
            self.log.critical("cannot start: %s", host_limits.too_few_threads(error))
            sys.exit(BOOT_FAILED)
        waker = _Waker(self.PIPE[0], map=server.map)
        while self.alive and self.ppid == os.getppid():
            self.notify()
            server.serve_once()
        server.stop_accepting()
        deadline = time.monotonic() + self.cfg.graceful_timeout
        while server.is_busy and time.monotonic() < deadline:
            self.notify()
            server.serve_once()
        waker.close()

    def _limits(self) -> Limits:
        open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        settings = getattr(getattr(self.app, "user_object", None), "settings", None)
        if settings is None:
            return Limits(threads=_METRICS_THREADS, arrive_s=_METRICS_ARRIVE_S, connections=100)
        return Limits(
            threads=self.cfg.threads,
            keep_s=self.cfg.keepalive,
            arrive_s=settings.arrival_timeout,
            body_bytes=settings.max_body_bytes,
            buffered_bytes=settings.max_buffered_bytes,
            connections=min(settings.max_connections, open_files - _SPARE_DESCRIPTORS),
        )

    def _report(self, task: Any) -> None:
        """Count and log a request that has been answered."""
        if isinstance(task.request.error, RefusedError):
            self._count(task.request.error.reason, getattr(task.request, "path", ""))
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
            os.write(self.PIPE[1], b"1")  # which wakes the loop
        if self.log.access_log_enabled:
            request = task.request
            environ = {
                "REMOTE_ADDR": task.channel.addr[0],
                "REQUEST_METHOD": getattr(request, "command", "-"),
                "RAW_URI": getattr(request, "request_uri", "-"),
                "PATH_INFO": getattr(request, "path", "-"),
                "QUERY_STRING": getattr(request, "query", ""),
                "SERVER_PROTOCOL": f"HTTP/{request.version}",
                **{f"HTTP_{name}": value for name, value in request.headers.items()},
            }
            response = SimpleNamespace(
                status=task.status, sent=task.content_bytes_written, headers=task.response_headers
            )
            duration = timedelta(seconds=time.time() - task.start_time)
            self.log.access(response, list(request.headers.items()), environ, duration)


_METRICS_THREADS = 4
_METRICS_ARRIVE_S = 5.0


class _Waker(wasyncore.file_dispatcher):  # type: ignore[misc]
    """Wakes the loop for a signal, which gunicorn writes into a pipe."""

    def writable(self) -> bool:
        """Never."""
        return False

    def handle_read(self) -> None:
        """Take the bytes away."""
        self.recv(4096)
