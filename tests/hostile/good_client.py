"""A good client beside a hostile one: what it asked, what it was answered, and how fast."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import grpc
import requests
from seldon_core.proto import prediction_pb2_grpc

from tests.service import Service
from tests.wire import to_proto

LIMIT_S = 10.0
"""Within this time every request of the good client must be answered (docs/operations.md)."""

MEMORY_LIMIT_MIB = 1024
"""Memory limit of the container in deployment.yaml."""

_GOOD = {"strData": "This film is so good"}
_PAUSE_S = 0.05


@dataclasses.dataclass(frozen=True)
class Answer:
    """One answer to the good client.

    Attributes:
        door: which door was asked: rest, kept (a kept connection), grpc, health or metrics.
        fault: empty if the answer was right, else what was wrong with it.
        seconds: from the request to the answer, the connection included.
    """

    door: str
    fault: str
    seconds: float


class GoodClient:
    """Asks every door of a service, one request at a time each, until the block ends.

    Args:
        service: the service under attack.
        doors: which doors to ask.
    """

    def __init__(
        self,
        service: Service,
        doors: tuple[str, ...] = ("rest", "kept", "grpc", "health", "metrics"),
    ) -> None:
        self._service = service
        self._session = requests.Session()
        self._channel = grpc.insecure_channel(f"127.0.0.1:{service.grpc}")
        asks: dict[str, Callable[[], str]] = {
            "rest": lambda: self._rest(requests.Session()),
            "kept": lambda: self._rest(self._session),
            "grpc": self._grpc,
            "health": lambda: self._get(service.url("/health/status"), "ready"),
            "metrics": lambda: self._get(f"http://127.0.0.1:{service.metrics}/metrics", ""),
        }
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(door, asks[door]), daemon=True)
            for door in doors
        ]
        self.answers: list[Answer] = []
        self.peak_mib = 0.0

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._channel.close()
        self._session.close()

    def wait_for_answers(self, each: int = 5, limit_s: float = 15.0) -> None:
        """Wait until every door has been asked some more times, or the time is over."""
        before = len(self.answers)
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            self.peak_mib = max(self.peak_mib, memory_mib(self._service))
            asked = [answer.door for answer in self.answers[before:]]
            if len({*asked}) == len(self._threads) and min(map(asked.count, {*asked})) >= each:
                return
            time.sleep(_PAUSE_S)

    def check(self, each: int = 5, limit_s: float = LIMIT_S) -> None:
        """Fail unless every request was answered rightly in time, and memory stayed in its limit.

        Args:
            each: least number of answers from each door.
            limit_s: longest time an answer may take.
        """
        assert [] == [answer for answer in self.answers if answer.fault][:5]
        doors = [answer.door for answer in self.answers]
        counts = {door: doors.count(door) for door in {*doors}}
        assert len(self._threads) == len(counts)
        assert min(counts.values()) >= each, counts
        slowest = max(self.answers, key=lambda answer: answer.seconds)
        assert slowest.seconds < limit_s, slowest
        assert self.peak_mib < MEMORY_LIMIT_MIB

    def _ask(self, door: str, ask: Callable[[], str]) -> None:
        while not self._over.wait(_PAUSE_S):
            start = time.monotonic()
            try:
                fault = ask()
            except (requests.RequestException, grpc.RpcError) as error:
                fault = f"{type(error).__name__}: {error}"
            self.answers.append(Answer(door, fault, time.monotonic() - start))

    def _rest(self, session: requests.Session) -> str:
        url = self._service.url("/api/v1.0/predictions")
        answer = session.post(url, json=_GOOD, timeout=LIMIT_S)
        return "" if answer.status_code == 200 else f"{answer.status_code} {answer.text}"

    def _grpc(self) -> str:
        prediction_pb2_grpc.SeldonStub(self._channel).Predict(to_proto(_GOOD), timeout=LIMIT_S)
        return ""

    def _get(self, url: str, words: str) -> str:
        answer = requests.get(url, timeout=LIMIT_S)
        is_right = answer.status_code == 200 and words in answer.text
        return "" if is_right else f"{answer.status_code} {answer.text}"


def memory_mib(service: Service) -> float:
    """Memory of all processes of a service, MiB; a page that several share counts once."""
    return sum(_proportional_kib(pid) for pid in service.processes()) / 1024


def _proportional_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
