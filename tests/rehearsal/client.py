"""A client inside the network namespace of a rehearsed pod: a process that takes JSON lines.

    python -m tests.rehearsal.client

It stands for the kubelet, the executor and Prometheus, which reach the container by its ports only.
"""

from __future__ import annotations

import errno
import json
import socket
import sys
from collections.abc import Callable
from typing import Any

import grpc
import requests
from google.protobuf import json_format
from seldon_core.proto.prediction_pb2_grpc import SeldonStub

from tests.wire import to_proto

TIMEOUT_S = 30
HOST = "127.0.0.1"


def get(port: int, path: str) -> dict[str, Any]:
    """Status and text of a page; status 0 if nothing answers."""
    try:
        answer = requests.get(f"http://{HOST}:{port}{path}", timeout=TIMEOUT_S)
    except requests.RequestException:
        return {"status": 0, "text": ""}
    return {"status": answer.status_code, "text": answer.text}


def post(port: int, path: str, message: Any) -> dict[str, Any]:
    """Status and text of the answer to a JSON body."""
    answer = requests.post(f"http://{HOST}:{port}{path}", json=message, timeout=TIMEOUT_S)
    return {"status": answer.status_code, "text": answer.text}


def predict(port: int, message: Any) -> dict[str, Any]:
    """The answer over gRPC in its JSON form."""
    with grpc.insecure_channel(f"{HOST}:{port}") as channel:
        answer = SeldonStub(channel).Predict(to_proto(message), timeout=TIMEOUT_S)
    found: dict[str, Any] = json_format.MessageToDict(answer)
    return found


def connect(address: str, port: int) -> str:
    """Name of the error of a connection, empty if it comes about."""
    try:
        with socket.create_connection((address, port), timeout=TIMEOUT_S):
            return ""
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))


CALLS: dict[str, Callable[..., Any]] = {
    call.__name__: call for call in (get, post, predict, connect)
}


def main() -> None:
    """Answer each line of standard input with one of standard output."""
    for line in sys.stdin:
        name, arguments = json.loads(line)
        sys.stdout.write(json.dumps(CALLS[name](*arguments)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
