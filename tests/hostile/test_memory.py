"""In the memory of deployment.yaml, requests within all limits are answered, and nothing ends."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import grpc
import pytest
import requests

from roberta_sentiment.settings import Settings
from tests.hostile.good_client import MEMORY_LIMIT_MIB, GoodClient
from tests.hostile.groups import MemoryGroup
from tests.hostile.uploads import uploading, wait_for_ends
from tests.served.test_lifecycle import grpc_answers
from tests.service import Service
from tests.wire import to_proto

pytestmark = pytest.mark.long

PEAK_MB, IDLE_MB = 700, 450
IDLE_WITHIN_S = 60
MESSAGE_BYTES = 16_000_000

CJK = "\u9f98\u4e2d\u9fa5\u7c72\u8d05" * 398_000
EMOJI = "\U0001f468\u200d\U0001f469\U0001f3fd" * 490_000


class Confined(Service):
    """A service whose processes live in a memory cgroup; its highest use is kept."""

    def __init__(self, group: MemoryGroup, **environment: str) -> None:
        super().__init__(**environment)
        self.group = group
        self.peak_mb = 0.0
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)

    def launch(self) -> Self:
        super().launch()
        self.group.add(self.process.pid)
        self._watch.start()
        return self

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self.peak_mb = max(self.peak_mb, self.group.used_mb())

    def __exit__(self, *arguments: Any) -> None:
        self._over.set()
        super().__exit__(*arguments)


@pytest.fixture(scope="module")
def confined() -> Iterator[Confined]:
    try:
        group = MemoryGroup(MEMORY_LIMIT_MIB)
    except OSError as error:
        pytest.skip(f"memory cgroups are not allowed here: {error}")
    try:
        with Confined(group).start() as service:
            service.wait_for(lambda: grpc_answers(service), "gRPC")
            yield service
    finally:
        group.remove()


def over_rest(service: Service, text: str) -> int:
    """Status of the answer to one text, sent as UTF-8."""
    body = json.dumps({"strData": text}, ensure_ascii=False).encode()
    headers = {"Content-Type": "application/json"}
    url = service.url("/api/v1.0/predictions")
    return requests.post(url, data=body, headers=headers, timeout=120).status_code


def over_grpc(service: Service, text: str) -> int:
    answer = service.stub().Predict(to_proto({"strData": text}), timeout=120)
    return 200 if answer.data.tensor.values else 0


ONE_TEXT = [
    pytest.param(CJK, id="rare characters"),
    pytest.param(EMOJI, id="emoji"),
    pytest.param("good " * 398_000, id="words"),
    pytest.param("a" * 1_990_000, id="one word"),
]


@pytest.mark.parametrize("ask", [over_rest, over_grpc], ids=["REST", "gRPC"])
@pytest.mark.parametrize("text", ONE_TEXT)
def test_a_text_of_megabytes(
    confined: Confined, ask: Callable[[Service, str], int], text: str
) -> None:
    """One valid request ended a worker; it is answered."""
    assert 200 == ask(confined, text)
    assert 0 == confined.group.kills()
    assert confined.peak_mb < PEAK_MB


@pytest.mark.parametrize("ask", [over_rest, over_grpc], ids=["REST", "gRPC"])
@pytest.mark.parametrize(
    ("callers", "text"),
    [
        pytest.param(4, EMOJI, id="4 of 8 MB"),
        pytest.param(32, CJK[:100_000], id="32 of 100,000 characters"),
    ],
)
def test_texts_of_many_callers_at_once(
    confined: Confined, ask: Callable[[Service, str], int], callers: int, text: str
) -> None:
    """Together they are more than any one may send."""
    with ThreadPoolExecutor(callers) as pool:
        answers = list(pool.map(lambda _: ask(confined, text), range(callers)))
    assert [200] * callers == answers
    assert 0 == confined.group.kills()
    assert confined.peak_mb < PEAK_MB


@pytest.mark.parametrize(
    ("connections", "messages"),
    [pytest.param(1, 100, id="one connection"), pytest.param(40, 2, id="many connections")],
)
def test_large_messages_that_do_not_end(
    confined: Confined, connections: int, messages: int
) -> None:
    """80 messages of 16 MB would take 1.3 GB; most are refused, and a good client is answered."""
    with (
        GoodClient(confined, doors=("rest", "grpc", "health")) as good,
        uploading(confined, connections, messages, MESSAGE_BYTES) as uploads,
    ):
        allowed = Settings().max_buffered_bytes // MESSAGE_BYTES
        refused = connections * messages - allowed
        assert refused <= wait_for_ends(uploads, refused, limit_s=15)
        good.wait_for_answers()
    good.check()
    assert 0 == confined.group.kills()
    assert confined.peak_mb < PEAK_MB


def test_large_messages_of_many_callers_are_answered_or_refused(confined: Confined) -> None:
    """Each whole message of 2 MB gets its answer, or a sentence that says to try again."""

    def ask(_: int) -> str:
        try:
            return "" if over_grpc(confined, "good " * 400_000) == 200 else "no scores"
        except grpc.RpcError as error:
            return str(error.details())

    with ThreadPoolExecutor(64) as pool:
        answers = {*pool.map(ask, range(64))}
    assert answers <= {
        "", "other large messages are being read (setting max_buffered_bytes); try again"
    }  # fmt: skip
    assert "" in answers
    assert 0 == confined.group.kills()
    assert confined.peak_mb < PEAK_MB


def test_an_idle_service_gives_memory_back(confined: Confined) -> None:
    """What one large request took must be there for the next, and for the other worker."""
    confined.wait_for(lambda: confined.group.used_mb() < IDLE_MB, "memory back", IDLE_WITHIN_S)
    assert 200 == over_rest(confined, "good")
