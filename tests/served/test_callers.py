"""Callers that leave, whose time is over, or for whom there is no room, at both doors."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import socket
import struct
from collections.abc import Iterator
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from seldon_core.proto import prediction_pb2

from tests import toy
from tests.nodes.held import ASKED, RUNS, SWITCH
from tests.served.test_lifecycle import grpc_answers
from tests.service import Service
from tests.wire import to_proto

MAX_QUEUE = 8
FIRST, OTHERS = "good", "good film"
FIRST_TOKENS, OTHER_TOKENS = 3, 4


@dataclasses.dataclass
class Held:
    """A service and the files that hold its model and tell of its runs."""

    service: Service
    switch: Path
    runs: Path
    asked: Path

    def requests(self) -> int:
        """Requests that have come as far as the scheduler."""
        return len(self.asked.read_text(encoding="ascii").splitlines())

    def over_grpc(self, message: Any) -> prediction_pb2.SeldonMessage:
        return self.service.predict(to_proto(message))

    def lengths(self) -> list[int]:
        """Tokens of every sequence that a run has held."""
        return [int(word) for word in self.runs.read_text(encoding="ascii").split()]

    @contextlib.contextmanager
    def model(self, ask: Any) -> Iterator[ThreadPoolExecutor]:
        """Hold the model in a run for a first request until the end of the block."""
        self.runs.write_text("", encoding="ascii")
        self.switch.touch()
        with ThreadPoolExecutor(16) as pool:
            try:
                first = pool.submit(ask, {"strData": FIRST})
                self.service.wait_for(lambda: [FIRST_TOKENS] == self.lengths(), "a run")
                yield pool
            finally:
                self.switch.unlink()
            first.result(60)


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    directory = tmp_path_factory.mktemp("held")
    model = toy.write(directory / "toy", positions=514)
    switch, runs, asked = (directory / name for name in ("switch", "runs", "asked"))
    environment = {
        SWITCH: str(switch),
        RUNS: str(runs),
        ASKED: str(asked),
        "MODEL_URI": str(model),
        "SENTIMENT_MAX_QUEUE": str(MAX_QUEUE),
        "SENTIMENT_THREADS": "1",
    }
    with Service("tests.nodes.held.Held", **environment).start() as service:
        service.wait_for(lambda: grpc_answers(service), "gRPC")
        yield Held(service, switch, runs, asked)


def predict(service: Service, message: Any, timeout: float = 60) -> Any:
    return service.stub().Predict.future(to_proto(message), timeout=timeout)


def dropped(held: Held) -> float:
    """Requests that were dropped until now; asking takes a moment."""
    return held.service.counter("sentiment_dropped_requests_total")


def test_no_run_is_spent_on_grpc_callers_that_have_gone(held: Held) -> None:
    """Twice what the queue takes comes: deadlines pass, cancels arrive, one caller stays."""
    with held.model(held.over_grpc):
        before = dropped(held)
        late = [predict(held.service, {"strData": OTHERS}, timeout=1) for _ in range(MAX_QUEUE)]
        assert {grpc.StatusCode.DEADLINE_EXCEEDED} == {call.code() for call in late}
        held.service.wait_for(lambda: dropped(held) > before, "a deadline that was noticed")
        before = dropped(held)
        cancelled = [predict(held.service, {"strData": OTHERS}) for _ in range(MAX_QUEUE - 1)]
        assert before == dropped(held)
        for call in cancelled:
            call.cancel()
        held.service.wait_for(lambda: dropped(held) > before, "a cancel that was noticed")
        stays = predict(held.service, {"strData": "good good film"})
    assert ["negative", "positive"] == stays.result(60).data.names
    assert OTHER_TOKENS not in held.lengths()
    assert held.service.counter("sentiment_dropped_tokens_total") > 0


def test_no_run_is_spent_on_a_rest_caller_that_has_gone(held: Held) -> None:
    """Its connection is reset, or closed, while its request waits."""
    with held.model(held.service.post):
        before = dropped(held)
        for reset in (True, False):
            leave(held, {"strData": OTHERS}, reset=reset)
        held.service.wait_for(lambda: dropped(held) == before + 2, "two requests dropped")
    assert OTHER_TOKENS not in held.lengths()


def leave(held: Held, message: Any, *, reset: bool) -> None:
    """POST a request and go while it waits."""
    before = held.requests()
    body = json.dumps(message).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n"
    with socket.create_connection(("127.0.0.1", held.service.http)) as connection:
        connection.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        held.service.wait_for(lambda: held.requests() > before, "the request")
        if reset:
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def first_refused(held: Held, pool: ThreadPoolExecutor, ask: Any) -> Future[Any]:
    """Fill the queue with what takes some seconds to work off; the one that has no place."""
    large = {"jsonData": [" ".join(["film"] * 510)] * 20}
    asked = [pool.submit(ask, large) for _ in range(MAX_QUEUE + 1)]
    done, _ = futures.wait(asked, timeout=60, return_when=futures.FIRST_COMPLETED)
    return done.pop()


def test_retry_after_is_the_real_number_over_rest(held: Held) -> None:
    """A client that comes back after 1 s is refused again, and again."""
    with held.model(held.service.post) as pool:
        refused = first_refused(held, pool, held.service.post).result()
    seconds = refused.headers["Retry-After"]
    assert f"try again in {seconds} s" in refused.json()["status"]["info"]
    assert 503 == refused.status_code
    assert int(seconds) > 1


def test_retry_after_is_the_real_number_over_grpc(held: Held) -> None:
    """gRPC's own retries keep the pause, and a client may read it."""
    with held.model(held.over_grpc) as pool:
        refused: Any = first_refused(held, pool, held.over_grpc).exception()
    (seconds,) = re.findall(r"try again in (\d+) s", refused.details())
    metadata = dict(refused.trailing_metadata())
    pause = metadata["retry-after"], metadata["grpc-retry-pushback-ms"]
    assert (seconds, f"{seconds}000") == pause
    assert grpc.StatusCode.UNAVAILABLE is refused.code()
    assert int(seconds) > 1
