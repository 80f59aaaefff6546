"""Start, health and end of the server."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

pytest.importorskip("mlserver", reason="make test-oip runs these in an environment with MLServer")

import grpc
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub

from oip_node import stop, upstream
from tests.oip_node.server import GOOD, REPOSITORY, Server

RETRY = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 5,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "0.5s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)
ANSWERED = "sentiment_answered_requests_total"
TEXT = pb.ModelInferRequest.InferInputTensor(
    name="x", datatype="BYTES", shape=[1], contents={"bytes_contents": [b"good"]}
)
MESSAGE = pb.ModelInferRequest(model_name="sentiment", inputs=[TEXT])


def repository(folder: Path, **settings: Any) -> Path:
    """A repository with other settings than ours, in a folder with the model's name."""
    folder = folder / "sentiment"
    folder.mkdir()
    given = json.loads((REPOSITORY / "model-settings.json").read_text())
    (folder / "model-settings.json").write_text(json.dumps({**given, **settings}))
    (folder / "settings.json").write_text((REPOSITORY / "settings.json").read_text())
    return folder


def set_up(folder: Path, **settings: Any) -> None:
    """Give a repository other settings of MLServer."""
    path = folder / "settings.json"
    folders = {name: str(folder.parent / name) for name in ("metrics_dir", "environments_dir")}
    path.write_text(json.dumps({**json.loads(path.read_text()), **folders, **settings}))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"parameters": {"extra": {"truncate": "end"}}}, "unknown parameter 'truncate'; did you"),
        ({"parameters": {"extra": {"model_uri": "/nowhere"}}}, "model directory /nowhere does not"),
        ({"parameters": {"uri": "gone"}}, "gone does not exist"),
        ({"parameters": {"truncation": "end"}}, "put it into parameters.extra"),
    ],
    ids=["setting", "model_uri", "uri", "beside extra"],
)
def test_a_start_that_fails(tmp_path: Path, settings: dict[str, Any], sentence: str) -> None:
    """One sentence and an exit code, where MLServer has a stack trace and exit code 0."""
    with Server(repository(tmp_path, **settings)).launch() as server:
        assert 1 == server.process.wait(120)
        log = server.log()
        said = [line for line in log.splitlines() if "cannot start: " in line]
        assert 1 == len(said), log
        assert sentence in said[0]
        assert "Traceback" not in log


def test_settings_of_the_model(tmp_path: Path) -> None:
    """In parameters.extra, with a version; MLServer's batches and workers change nothing."""
    extra = {"truncation": "error", "max_texts": 1, "max_connections": 10}
    parameters = {"extra": extra, "version": "7"}
    folder = repository(tmp_path, parameters=parameters, max_batch_size=8, max_batch_time=0.1)
    set_up(folder, parallel_workers=2, cache_enabled=True)
    with Server(folder).start() as server:
        body = server.infer({"inputs": [GOOD]}, "/v2/models/sentiment/versions/7/infer").json()
        assert "7" == body["model_version"]
        answer = server.infer({"inputs": [{**GOOD, "shape": [2], "data": ["a", "b"]}]})
        sentence = "the request holds 2 texts, the limit is 1 (setting max_texts); "
        assert {"error": sentence + "send them in several requests"} == answer.json()
        assert "settings in force: {" in server.log()
        assert "max_connections does nothing" in server.log()
        assert "max_batch_size is not used" in server.log()
        assert 1 == server.counter("sentiment_answered_requests_total")
        assert 1 == server.counter("sentiment_refused_requests_total", reason="too_many_texts")
        assert 0 == server.stop()
        assert "stopped unexpectedly" not in server.log()


def workers(server: Server) -> set[int]:
    """Pids of MLServer's worker processes."""
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in server.processes()}
    return {pid for pid, command in commands.items() if b"spawn_main" in command}


def test_a_killed_worker(tmp_path: Path) -> None:
    """With parallel_workers, a worker process that dies loses no request, and is replaced."""
    folder = repository(tmp_path)
    set_up(folder, parallel_workers=1)
    with Server(folder).start() as server:
        server.wait_for(lambda: workers(server), "a worker")
        traffic = Traffic(server.http, server.grpc, 2)
        try:
            (killed,) = workers(server)
            os.kill(killed, signal.SIGKILL)
            server.wait_for(lambda: workers(server) - {killed}, "another worker")
            before = server.counter(ANSWERED)
            server.wait_for(lambda: server.counter(ANSWERED) > before + 20, "traffic")
        finally:
            traffic.stop()
        assert {"REST 200", "gRPC OK"} == set(traffic.outcomes), traffic.outcomes
        assert 0 == server.stop()


@pytest.mark.parametrize("number", [0, 2])
def test_a_killed_server(tmp_path: Path, number: int) -> None:
    """Nothing of it stays, worker processes included; on the same ports the next one starts."""
    folder = repository(tmp_path)
    set_up(folder, parallel_workers=number)
    with Server(folder).start() as first:
        if number:
            os.kill(min(workers(first)), signal.SIGKILL)  # the one that replaces it ends, too
            first.wait_for(lambda: "is now ready" in first.log(), "another worker")
        assert number == len(workers(first))
        os.kill(first.process.pid, signal.SIGKILL)
        assert -signal.SIGKILL == first.process.wait()
        names = [f"MLSERVER_{name}_PORT" for name in ("HTTP", "GRPC", "METRICS")]
        same_ports = {name: first.environment[name] for name in names}
        with Server(REPOSITORY, None, **same_ports).launch() as next_:
            next_.http, next_.grpc = first.http, first.grpc
            next_.wait_for(lambda: not first.processes(), "the end of the others")
            next_.wait_for(lambda: next_.status("/v2/health/ready") == 200, "readiness")
            assert 200 == next_.infer({"inputs": [GOOD]}).status_code


def test_idle_connections_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than the 90 s of Go's clients, so that none is closed as a request comes."""
    monkeypatch.setattr(stop, "take_signals", lambda: None)
    config = SimpleNamespace(timeout_keep_alive=5)
    plane = SimpleNamespace(_model_registry=SimpleNamespace(_on_model_load=[]))
    server = SimpleNamespace(_server=SimpleNamespace(config=config), _data_plane=plane)

    async def original(server: Any, model: Any) -> Any:
        return model

    model = SimpleNamespace(guard=lambda server: None)
    assert model is asyncio.run(upstream._guarded(original, server, model))
    assert 90 < config.timeout_keep_alive


def test_health(tmp_path: Path) -> None:
    """Not ready while the model fails, ready when it answers; a bad text is not the model."""
    fault = tmp_path / "fault"
    folder = repository(tmp_path, implementation="tests.oip_node.flaky.FlakyRuntime")
    with Server(folder, FLAKY=str(fault)).start() as server:
        alone = server.infer({"inputs": [{**GOOD, "data": ["one alone"]}]})
        assert (500, "the model failed") == (alone.status_code, alone.json()["error"])
        assert 200 == server.status("/v2/health/ready")
        fault.touch()
        assert 500 == server.infer({"inputs": [GOOD]}).status_code
        paths = ("/v2/health/ready", "/v2/models/sentiment/ready")
        server.wait_for(lambda: {400} == set(map(server.status, paths)), "unreadiness")
        assert 200 == server.status("/v2/health/live")
        fault.unlink()
        server.wait_for(lambda: server.status("/v2/health/ready") == 200, "readiness again")
        assert 200 == server.infer({"inputs": [GOOD]}).status_code


def test_a_stream_without_messages_at_the_end() -> None:
    """Only a message that is being answered holds up the end, not a stream that stays open."""
    over = threading.Event()

    def messages() -> Iterator[Any]:
        yield MESSAGE
        over.wait(60)

    with Server().start() as server, grpc.insecure_channel(f"127.0.0.1:{server.grpc}") as channel:
        stream = GRPCInferenceServiceStub(channel).ModelStreamInfer(messages(), timeout=60)
        assert next(stream).outputs
        assert 0 == server.stop(stop.GRACE_S / 2)
        over.set()
        with pytest.raises(grpc.RpcError) as error:
            next(stream)
        assert "UNAVAILABLE" == error.value.code().name


class Switch:
    """A TCP forwarder: connections stay where they are, new ones go to the present target."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listener.close()


class Traffic:
    """Callers over REST and gRPC that keep their connections, until they are stopped."""

    def __init__(self, http: int, grpc_port: int, callers: int) -> None:
        self.outcomes: collections.Counter[str] = collections.Counter()
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(make, port))
            for make, port in ((self._rest, http), (self._grpc, grpc_port))
            for _ in range(callers)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, make: Any, port: int) -> None:
        with make(port) as ask:
            while not self._over.is_set():
                self.outcomes[ask()] += 1

    @contextlib.contextmanager
    def _rest(self, port: int) -> Iterator[Any]:
        with requests.Session() as session:

            def ask() -> str:
                url = f"http://127.0.0.1:{port}/v2/models/sentiment/infer"
                try:
                    answer = session.post(url, json={"inputs": [GOOD]}, timeout=60)
                except requests.RequestException as error:
                    return f"REST {error}"
                return f"REST {answer.status_code}"

            yield ask

    @contextlib.contextmanager
    def _grpc(self, port: int) -> Iterator[Any]:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.service_config", RETRY)]
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            stub = GRPCInferenceServiceStub(channel)

            def ask() -> str:
                try:
                    stub.ModelInfer(MESSAGE, timeout=60)
                except grpc.RpcError as error:
                    return f"gRPC {error.code().name} {error.details()}"
                return "gRPC OK"

            yield ask

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def test_a_rolling_update_loses_nothing(oip: Server) -> None:
    """Callers keep their connections to a server that gets SIGTERM, and new ones go elsewhere.

    REST callers do not try again at all; gRPC callers try UNAVAILABLE again, as gRPC's own retries
    do.
    """
    with Server().start() as old:
        rest, rpc = Switch(old.http), Switch(old.grpc)
        traffic = Traffic(rest.port, rpc.port, 4)
        try:
            old.wait_for(lambda: old.counter(ANSWERED) > 40, "traffic")
            rest.target, rpc.target = oip.http, oip.grpc
            before = oip.counter(ANSWERED)
            assert 0 == old.stop()
            oip.wait_for(lambda: oip.counter(ANSWERED) > before + 40, "traffic at the new one")
        finally:
            traffic.stop()
            rest.close()
            rpc.close()
    assert {"REST 200", "gRPC OK"} == set(traffic.outcomes), traffic.outcomes
