"""Load from wrk, and from an asyncio client that speaks REST and gRPC alike.

The client as a process: python -m lab.benchmarks.load TRANSPORT PORT CONCURRENCY SECONDS FILE
TRANSPORT is one of `TRANSPORTS`, and FILE holds one text a line.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import importlib.util
import itertools
import json
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Self

from lab.benchmarks.machine import ROOT

PATH = "/api/v1.0/predictions"
OIP_PATH = "/v2/models/sentiment/infer"
_TIMEOUT_S = 60
_PIECE = 2**16
_SO_TIMESTAMPNS = 35  # of Linux
_TIME = struct.Struct("qq")
_STATUS_OF_GRPC = {"OK": 200, "UNAVAILABLE": 503, "RESOURCE_EXHAUSTED": 503}


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came back for one request.

    Attributes:
        status: of HTTP, or what it would be for a gRPC code; 0 when the connection broke.
        seconds: from the request's first byte to the answer's last.
        body: bytes.
        late_s: how much later than due the client sent it (open loop).
        server_s: over REST, from the request's last byte until the kernel had the answer's first;
            what is left of `seconds` is the client's share.
    """

    status: int
    seconds: float
    body: bytes
    late_s: float = 0.0
    server_s: float | None = None


Reply = tuple[int, bytes, float | None]
"""Status, body and `server_s`."""


def wrk(
    url: str, bodies: Path, *, concurrency: int, seconds: float, start: int = 0
) -> dict[str, Any]:
    """Closed loop over the bodies of a file.

    Args:
        url: with path.
        bodies: one JSON document a line.
        concurrency: connections.
        seconds: how long.
        start: first body.

    Returns:
        requests, seconds, p50_ms, p90_ms, p99_ms, max_ms, not_2xx, broken, requests_per_s.
    """
    if shutil.which("wrk") is None:
        sys.exit("wrk is needed: apt-get install wrk")
    run = subprocess.run(
        [
            "wrk", "-t1", f"-c{concurrency}", f"-d{seconds:.0f}s", f"--timeout={_TIMEOUT_S}s",
            "-s", str(Path(__file__).with_name("wrk.lua")), url, "--", str(bodies), str(start),
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    line = next(line for line in run.stdout.splitlines() if line.startswith("RESULT "))
    found: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
    answered = found["requests"] - found["not_2xx"]
    found["requests_per_s"] = round(answered / found["seconds"], 1)
    return found


class Rest:
    """One connection that is kept, and opened again when the server closes it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    @staticmethod
    def encode(text: str, puid: str = "") -> bytes:
        """The whole request."""
        meta = {"meta": {"puid": puid}} if puid else {}
        return _post(PATH, {**meta, "data": {"ndarray": [text]}})

    @staticmethod
    def decode(body: bytes) -> tuple[str, float]:
        """The request's own number, and the positive class's probability."""
        answer = json.loads(body)
        return answer["meta"]["puid"], answer["data"]["ndarray"][0][1]

    async def send(self, request: bytes) -> Reply:
        """Ask, and wait for the answer."""
        loop = asyncio.get_running_loop()
        try:
            if self._socket is None:
                self._socket = await self._connect(loop)
            await loop.sock_sendall(self._socket, request)
            sent = time.time()
            head, body, arrived = await _receive(loop, self._socket)
        except (OSError, EOFError):
            await self.close()
            return 0, b"", None
        if b"connection: close" in head:
            await self.close()
        return int(head[9:12]), body, arrived - sent

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> socket.socket:
        opened = socket.socket()
        opened.setblocking(False)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        await loop.sock_connect(opened, ("127.0.0.1", self._port))
        return opened

    async def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


async def _receive(
    loop: asyncio.AbstractEventLoop, connection: socket.socket
) -> tuple[bytes, bytes, float]:
    """Head, in lower case, and body of an answer, and when the kernel had its first bytes."""
    received, arrived = b"", 0.0
    while True:
        await _readable(loop, connection)
        part, facts, _, _ = connection.recvmsg(_PIECE, socket.CMSG_SPACE(_TIME.size))
        if not part:
            raise EOFError
        if not received:
            seconds, nanoseconds = _TIME.unpack(facts[0][2])
            arrived = seconds + nanoseconds / 1e9
        received += part
        head, end, body = received.partition(b"\r\n\r\n")
        head = head.lower()
        if end and len(body) >= int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0]):
            return head, body, arrived


async def _readable(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
    ready = asyncio.Event()
    loop.add_reader(connection, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(connection)


def _post(path: str, body: dict[str, Any]) -> bytes:
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


def oip_body(text: str) -> dict[str, Any]:
    """A request of the Open Inference Protocol to score one text."""
    return {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]}


class OipRest(Rest):
    """The same for the Open Inference Protocol."""

    @staticmethod
    def encode(text: str, puid: str = "") -> bytes:
        """The whole request."""
        return _post(OIP_PATH, {"id": puid, **oip_body(text)})

    @staticmethod
    def decode(body: bytes) -> tuple[str, float]:
        """The request's own number, and the positive class's probability."""
        answer = json.loads(body)
        return answer["id"], answer["outputs"][0]["data"][1]


class Grpc:
    """One channel."""

    method = "/seldon.protos.Seldon/Predict"

    def __init__(self, port: int) -> None:
        import grpc.aio

        self._channel = grpc.aio.insecure_channel(
            f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]
        )
        self._call = self._channel.unary_unary(
            self.method, request_serializer=None, response_deserializer=None
        )

    @staticmethod
    def encode(text: str, puid: str = "") -> bytes:
        """The serialised message."""
        from seldon_core.proto import prediction_pb2

        message = prediction_pb2.SeldonMessage()
        message.meta.puid = puid
        message.data.ndarray.extend([text])
        serialised: bytes = message.SerializeToString()
        return serialised

    @staticmethod
    def decode(body: bytes) -> tuple[str, float]:
        """The request's own number, and the positive class's probability."""
        from seldon_core.proto import prediction_pb2

        answer = prediction_pb2.SeldonMessage.FromString(body)
        scores = answer.data.ndarray.values[0].list_value.values
        return answer.meta.puid, scores[1].number_value

    async def send(self, request: bytes) -> Reply:
        """Ask; the body is the serialised answer or the sentence of an error."""
        import grpc

        try:
            return 200, await self._call(request, timeout=_TIMEOUT_S), None
        except grpc.aio.AioRpcError as error:
            status = _STATUS_OF_GRPC.get(error.code().name, 500)
            return status, str(error.details()).encode(), None

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close(None)


class OipGrpc(Grpc):
    """The same for the Open Inference Protocol."""

    method = "/inference.GRPCInferenceService/ModelInfer"

    @staticmethod
    def encode(text: str, puid: str = "") -> bytes:
        """The serialised message."""
        message = _oip_messages().ModelInferRequest(model_name="sentiment", id=puid)
        tensor = message.inputs.add(name="text", datatype="BYTES", shape=[1])
        tensor.contents.bytes_contents.append(text.encode())
        serialised: bytes = message.SerializeToString()
        return serialised

    @staticmethod
    def decode(body: bytes) -> tuple[str, float]:
        """The request's own number, and the positive class's probability."""
        answer = _oip_messages().ModelInferResponse.FromString(body)
        return answer.id, answer.outputs[0].contents.fp64_contents[1]


@functools.cache
def _oip_messages() -> Any:
    """MLServer's protobuf messages, read from its environment."""
    (path,) = ROOT.glob(".venv-oip/lib/python*/site-packages/mlserver/grpc/dataplane_pb2.py")
    spec = importlib.util.spec_from_file_location("dataplane_pb2", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


Transport = Rest | Grpc
Kind = type[Rest] | type[Grpc]
TRANSPORTS: dict[str, Kind] = {
    "rest": Rest,
    "grpc": Grpc,
    "oip-rest": OipRest,
    "oip-grpc": OipGrpc,
}


async def closed_loop(
    make: Callable[[], Transport], requests: Sequence[bytes], *, concurrency: int, seconds: float
) -> list[Answer]:
    """Each of `concurrency` callers sends its next request when it has its answer."""
    turn = itertools.count()
    until = time.perf_counter() + seconds
    answers: list[Answer] = []

    async def caller() -> None:
        transport = make()
        while (start := time.perf_counter()) < until:
            status, body, _ = await transport.send(requests[next(turn) % len(requests)])
            answers.append(Answer(status, time.perf_counter() - start, body))
        await transport.close()

    await asyncio.gather(*(caller() for _ in range(concurrency)))
    return answers


class Pool:
    """Idle connections for an open loop."""

    def __init__(self, make: Callable[[], Transport]) -> None:
        self._make = make
        self._idle: list[Transport] = []

    async def send(self, request: bytes) -> Reply:
        """Send on an idle connection or a new one."""
        transport = self._idle.pop() if self._idle else self._make()
        try:
            return await transport.send(request)
        finally:
            self._idle.append(transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for transport in self._idle:
            await transport.close()


async def open_loop(
    send: Callable[[bytes], Awaitable[Reply]],
    requests: Sequence[bytes],
    *,
    rate: float,
    seconds: float,
) -> list[Answer]:
    """Requests at fixed times, whatever the answers do.

    Args:
        send: for example `Pool.send`.
        requests: sent in turn.
        rate: requests a second.
        seconds: how long.

    Returns:
        Answers in the order of the requests.
    """
    begin = time.perf_counter()

    async def one(number: int, due: float) -> Answer:
        sent = time.perf_counter()
        status, body, server_s = await send(requests[number % len(requests)])
        return Answer(status, time.perf_counter() - sent, body, sent - due, server_s)

    calls = []
    for number in range(int(rate * seconds)):
        due = begin + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        calls.append(asyncio.create_task(one(number, due)))
    return await asyncio.gather(*calls)


def percentile(values: Sequence[float], per_cent: float) -> float:
    """The value below which `per_cent` of the values lie (nearest rank); NaN for none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * per_cent / 100))]


def describe(answers: Sequence[Answer], seconds: float) -> dict[str, Any]:
    """In the form of `wrk`."""
    good = [a.seconds * 1000 for a in answers if a.status == 200]
    return {
        "requests": len(answers),
        "seconds": round(seconds, 3),
        "p50_ms": round(statistics.median(good), 3) if good else None,
        "p90_ms": round(percentile(good, 90), 3),
        "p99_ms": round(percentile(good, 99), 3),
        "max_ms": round(max(good, default=float("nan")), 3),
        "not_2xx": sum(a.status not in (0, 200) for a in answers),
        "broken": sum(a.status == 0 for a in answers),
        "requests_per_s": round(len(good) / seconds, 1),
    }


def client(
    kind: str, port: int, *, concurrency: int, seconds: float, texts: Path
) -> dict[str, Any]:
    """The closed loop in a process of its own."""
    run = subprocess.run(
        [
            sys.executable, "-m", "lab.benchmarks.load",
            kind, str(port), str(concurrency), str(seconds), str(texts),
        ],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def main() -> None:
    """Run the closed loop and print what was measured."""
    kind, port, concurrency, seconds, texts = sys.argv[1:]
    transport = TRANSPORTS[kind]
    lines = Path(texts).read_text(encoding="utf-8").splitlines()
    requests = [transport.encode(line) for line in lines]
    start = time.perf_counter()
    answers = asyncio.run(
        closed_loop(
            lambda: transport(int(port)),
            requests,
            concurrency=int(concurrency),
            seconds=float(seconds),
        )
    )
    print(json.dumps(describe(answers, time.perf_counter() - start)))


if __name__ == "__main__":
    main()
