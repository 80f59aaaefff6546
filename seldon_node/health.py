"""What the server processes know of each other's health, in shared memory."""

from __future__ import annotations

import mmap
import os
import secrets
import threading
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_SLOTS = 1024
_ABSTRACT = "unix-abstract:"
_FRESH_S = 0.5
_OWN_CHANNEL = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))

LIVES = "sentiment.Worker"
"""Name by which health is asked whether a gRPC worker answers, whatever the model does."""


class FailureFlags:
    """Which processes of this service have a failing model.

    Made before the wrapper forks its servers, so that all of them see the same memory, which has
    no file anywhere. A process writes its pid into its own slot only, which needs no lock.
    """

    def __init__(self) -> None:
        self._failing = memoryview(mmap.mmap(-1, 4 * _SLOTS)).cast("i")

    def report(self, *, failing: bool) -> None:
        """Say whether the model of this process fails."""
        pid = os.getpid()
        self._failing[pid % _SLOTS] = pid if failing else 0

    def failing(self) -> list[int]:
        """Pids of living processes whose model fails."""
        return [pid for pid in set(self._failing) if pid and _is_alive(pid)]


class WorkerHealth:
    """The processes of this service that gunicorn does not supervise.

    Made before the wrapper forks its servers.

    Args:
        grpc_workers: how many gRPC workers should run.
        grpc_port: TCP port that they share.
    """

    def __init__(self, grpc_workers: int, grpc_port: int) -> None:
        self.failures = FailureFlags()
        # Containers of a pod share these names, and each has processes of the same pids.
        service = secrets.token_hex(16)
        self._private = [f"sentiment-node-{service}-grpc-{i}" for i in range(grpc_workers)]
        self._port = grpc_port
        self._unbound = memoryview(mmap.mmap(-1, max(1, grpc_workers)))
        self._asking = threading.Lock()
        self._ask_again = 0.0
        self._silent = 0

    def private_address(self, worker: int) -> str:
        """Abstract Unix socket on which a gRPC worker can be asked alone.

        The workers share one TCP port, where the kernel picks who answers.
        """
        return self._private[worker]

    def set_private(self, worker: int, *, bound: bool) -> None:
        """Say whether a gRPC worker listens on its private address; else its port is asked."""
        self._unbound[worker] = not bound

    def problem(self) -> str:
        """What is wrong with them in a few words, empty if nothing is."""
        silent = self._silent_workers()
        if silent:
            return f"{silent} of {len(self._private)} gRPC workers do not answer"
        if self.failures.failing():
            return "the last inference of another worker failed"
        return ""

    def _silent_workers(self) -> int:
        """How many gRPC workers do not answer, asked twice a second at most if all did.

        Else they are asked again after as long as it took, since a starting worker may answer soon.
        """
        with self._asking:
            start = time.monotonic()
            if start >= self._ask_again:
                self._silent = sum(
                    not answers(f"127.0.0.1:{self._port}" if unbound else f"{_ABSTRACT}{address}")
                    for address, unbound in zip(self._private, self._unbound, strict=False)
                )
                now = time.monotonic()
                self._ask_again = now + (min(_FRESH_S, now - start) if self._silent else _FRESH_S)
            return self._silent


def answers(target: str, timeout: float = 2.0) -> bool:
    """Whether a gRPC server answers a call.

    Args:
        target: its address, as gRPC writes it.
        timeout: longest time, s.
    """
    request = health_pb2.HealthCheckRequest(service=LIVES)
    with grpc.insecure_channel(target, options=_OWN_CHANNEL) as channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(request, timeout=timeout)
        except grpc.RpcError as error:
            # The wrapper's own server, where ours is left out, has no such service, but answers.
            return bool(error.code() == grpc.StatusCode.UNIMPLEMENTED)
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
