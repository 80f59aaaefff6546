"""In the memory of deployment.yaml, requests within all limits are answered, and nothing ends."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import pytest
import requests

from tests.hostile.good_client import MEMORY_LIMIT_MIB
from tests.served.test_lifecycle import grpc_answers
from tests.service import Service
from tests.wire import to_proto

pytestmark = pytest.mark.long

PEAK_MB, IDLE_MB = 700, 450
IDLE_WITHIN_S = 60
GROUPS = Path("/sys/fs/cgroup")

CJK = "\u9f98\u4e2d\u9fa5\u7c72\u8d05" * 398_000
EMOJI = "\U0001f468\u200d\U0001f469\U0001f3fd" * 490_000


class Group:
    """A memory cgroup with the limit of deployment.yaml, version 1 or 2."""

    def __init__(self) -> None:
        self._is_first = (GROUPS / "memory").is_dir()
        parent = GROUPS / "memory" if self._is_first else GROUPS
        self._path = parent / f"sentiment-test-{os.getpid()}"
        self._path.mkdir()
        try:
            name = "memory.limit_in_bytes" if self._is_first else "memory.max"
            (self._path / name).write_text(str(MEMORY_LIMIT_MIB * 2**20), encoding="ascii")
        except OSError:
            self.remove()
            raise

    def add(self, pid: int) -> None:
        (self._path / "cgroup.procs").write_text(str(pid), encoding="ascii")

    def used_mb(self) -> float:
        """What can't be given back to others: neither files nor their cache."""
        name = "total_rss" if self._is_first else "anon"
        return self._read("memory.stat")[name] / 1e6

    def kills(self) -> int:
        name = "memory.oom_control" if self._is_first else "memory.events"
        return self._read(name)["oom_kill"]

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            self._path.rmdir()

    def _read(self, name: str) -> dict[str, int]:
        lines = (self._path / name).read_text(encoding="ascii").splitlines()
        return {key: int(value) for key, value in (line.split() for line in lines)}


class Confined(Service):
    """A service whose processes live in a memory cgroup; its highest use is kept."""

    def __init__(self, group: Group, **environment: str) -> None:
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
        group = Group()
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


def test_an_idle_service_gives_memory_back(confined: Confined) -> None:
    """What one large request took must be there for the next, and for the other worker."""
    confined.wait_for(lambda: confined.group.used_mb() < IDLE_MB, "memory back", IDLE_WITHIN_S)
    assert 200 == over_rest(confined, "good")
