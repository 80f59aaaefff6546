"""SIGTERM and gRPC: a call that runs is answered, every other one may be tried elsewhere."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from seldon_core.proto import prediction_pb2, prediction_pb2_grpc

from tests import toy
from tests.nodes.waiting import BEGUN, RELEASE
from tests.service import Service
from tests.wire import to_proto

CALLERS, CALLS = 8, 20
QUICK, HELD = to_proto({"strData": "good"}), to_proto({"strData": "held good"})
METHOD = "/seldon.protos.Seldon/Predict"
THREADS = 3
LIMIT_S = 60


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """When this file is there, calls that are held go on."""
    return tmp_path / "release"


@pytest.fixture
def service(tmp_path: Path, release: Path) -> Iterator[Service]:
    """A service whose gRPC worker has few threads."""
    model = toy.write(tmp_path / "toy", positions=514)
    variables = {"MODEL_URI": str(model), "GRPC_THREADS": str(THREADS), RELEASE: str(release)}
    with Service("tests.nodes.waiting.Waiting", **variables).start() as running:
        with connect(running) as channel:
            prediction_pb2_grpc.SeldonStub(channel).Predict(QUICK, timeout=LIMIT_S)
        yield running


def connect(service: Service) -> grpc.Channel:
    """A connection that no other channel shares."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    return grpc.insecure_channel(f"127.0.0.1:{service.grpc}", options=options)


def begin(channel: grpc.Channel, message: prediction_pb2.SeldonMessage) -> Any:
    """Begin a call and do not wait for it."""
    return prediction_pb2_grpc.SeldonStub(channel).Predict.future(message, timeout=LIMIT_S)


def refused(channel: grpc.Channel) -> bool:
    """Whether a new call on a connection is refused."""
    return bool(begin(channel, QUICK).code() is grpc.StatusCode.UNAVAILABLE)


def wait_for_begun(service: Service, count: int) -> None:
    service.wait_for(lambda: service.log().count(BEGUN) == count, f"{count} running calls")


def test_callers_of_a_stopping_server_see_nothing_but_unavailable(service: Service) -> None:
    """Each has many calls at a time on its own connection, on their way and in the server."""
    codes: Counter[grpc.StatusCode] = Counter()
    lock = threading.Lock()

    def call() -> None:
        with connect(service) as channel:
            while service.process.poll() is None:
                calls = [begin(channel, QUICK) for _ in range(CALLS)]
                found = Counter(future.code() for future in calls)
                with lock:
                    codes.update(found)

    threads = [threading.Thread(target=call) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    service.wait_for(lambda: codes[grpc.StatusCode.OK] > 4 * CALLS * CALLERS, "traffic")
    service.process.terminate()
    for thread in threads:
        thread.join()
    assert 0 == service.process.returncode
    assert {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE} == codes.keys()


def test_what_runs_is_answered_and_the_rest_is_unavailable(service: Service, release: Path) -> None:
    """On one connection: a running call, one without its message, one later than SIGTERM."""
    arrives = threading.Event()

    def late() -> Iterator[bytes]:
        arrives.wait(LIMIT_S)
        yield QUICK.SerializeToString()

    with connect(service) as channel:
        stalled = channel.stream_unary(METHOD, bytes, bytes).future(late(), timeout=LIMIT_S)
        running = begin(channel, HELD)
        wait_for_begun(service, 1)  # the headers of the stalled call came before it
        service.process.terminate()
        service.wait_for(lambda: refused(channel), "the first refusal")
        release.touch()
        assert grpc.StatusCode.OK == running.code()
        assert ["negative", "positive"] == list(running.result().data.names)
        assert grpc.StatusCode.UNAVAILABLE == stalled.code()
        arrives.set()
    assert 0 == service.process.wait(LIMIT_S)


def test_what_waits_for_a_thread_is_unavailable(service: Service, release: Path) -> None:
    """All threads run a call; those behind them have not begun, and are not cancelled."""
    with connect(service) as channel, connect(service) as idle:
        grpc.channel_ready_future(idle).result(LIMIT_S)
        running = [begin(channel, HELD) for _ in range(THREADS)]
        wait_for_begun(service, THREADS)
        waiting = [begin(channel, HELD) for _ in range(5)]
        service.process.terminate()
        wait_for_end(service, idle)
        release.touch()
        assert {grpc.StatusCode.OK} == {future.code() for future in running}
        assert {grpc.StatusCode.UNAVAILABLE} == {future.code() for future in waiting}
    assert 0 == service.process.wait(LIMIT_S)


def test_an_idle_connection_is_closed_while_a_call_runs_on_another(
    service: Service, release: Path
) -> None:
    """Its client connects elsewhere for its next call, and loses none."""
    with connect(service) as busy, connect(service) as idle:
        grpc.channel_ready_future(idle).result(LIMIT_S)
        running = begin(busy, HELD)
        wait_for_begun(service, 1)
        service.process.terminate()
        wait_for_end(service, idle)
        assert not running.done()
        release.touch()
        assert grpc.StatusCode.OK == running.code()
    assert 0 == service.process.wait(LIMIT_S)


def wait_for_end(service: Service, channel: grpc.Channel) -> None:
    """Wait until a channel has lost its connection."""
    states: list[grpc.ChannelConnectivity] = []
    channel.subscribe(states.append)
    ready = grpc.ChannelConnectivity.READY
    service.wait_for(lambda: states and states[-1] is not ready, "the connection's end")
    channel.unsubscribe(states.append)
