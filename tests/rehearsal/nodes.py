"""Nodes that answer as a script says, over REST and gRPC on free ports."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc

from rehearsal.graph import Node


@dataclasses.dataclass(frozen=True)
class RestAnswer:
    """What a node answers over REST."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = dataclasses.field(
        default_factory=lambda: {"Content-Type": "application/json"}
    )


@dataclasses.dataclass(frozen=True)
class GrpcAnswer:
    """What a node answers over gRPC: a serialized message, or an error."""

    message: bytes = b""
    code: grpc.StatusCode = grpc.StatusCode.OK
    details: str = ""


@dataclasses.dataclass
class Script:
    """The answers of one node, and what it was asked.

    Attributes:
        rest: answer by path, such as `/predict`.
        grpc: answer by method, such as `Predict`.
        calls: path or method, and the headers or metadata, of every call.
    """

    rest: Callable[[str, bytes], RestAnswer] = lambda path, body: RestAnswer()
    grpc: Callable[[str, bytes], GrpcAnswer] = lambda method, request: GrpcAnswer()
    calls: list[tuple[str, dict[str, str]]] = dataclasses.field(default_factory=list)


@contextlib.contextmanager
def serving(name: str, script: Script, kind: str = "MODEL") -> Iterator[Node]:
    """A node of the graph that runs its script."""
    rest = ThreadingHTTPServer(("127.0.0.1", 0), _rest_handler(script))
    threading.Thread(target=rest.serve_forever, args=(0.01,), daemon=True).start()
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((_GrpcHandler(script),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        image = {"roberta": "roberta-sentiment:0.1.0", "lexicon": "roberta-sentiment-lexicon:0.1.0"}
        yield Node(name, kind, "localhost", rest.server_port, port, image.get(name, f"{name}:1"))
    finally:
        server.stop(0)
        rest.shutdown()
        rest.server_close()


def _rest_handler(script: Script) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            script.calls.append((self.path, dict(self.headers)))
            answer = script.rest(self.path, body)
            self.send_response(answer.status)
            for key, value in answer.headers.items():
                self.send_header(key, value)
            if answer.status != 204:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if answer.status != 204:
                with contextlib.suppress(OSError):  # the caller may have gone
                    self.wfile.write(answer.body)

        do_GET = do_POST  # noqa: N815

    return Handler


class _GrpcHandler(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # its stubs alone are generic
    def __init__(self, script: Script) -> None:
        self._script = script

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        method = details.method.rpartition("/")[2]

        def run(request: bytes, context: grpc.ServicerContext) -> bytes:
            metadata = {key: str(value) for key, value in context.invocation_metadata()}
            self._script.calls.append((details.method, metadata))
            answer = self._script.grpc(method, request)
            context.set_trailing_metadata((("node-trailer", "1"),))
            if answer.code is not grpc.StatusCode.OK:
                context.abort(answer.code, answer.details)
            return answer.message

        return grpc.unary_unary_rpc_method_handler(run)
