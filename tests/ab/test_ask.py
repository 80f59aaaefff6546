"""The tries of one request, without an endpoint and without waiting."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ab.attribution import Graph, Model
from ab.clock import Clock
from ab.data import Review
from ab.run.ask import PredictionSender
from ab.run.options import Options
from ab.transport.reply import Outcome, Reply

MODELS = (Model("a", 0.5), Model("b", 0.5))
REVIEW = Review("7", "a text", "positive")
UNREACHABLE = Reply(Outcome.UNREACHABLE, detail="nobody")
FAILED = Reply(Outcome.FAILED, "500", detail="no")


class FakeClock(Clock):
    """A second passes in every sleep; the run is stopped in the one of that number."""

    def __init__(self, stop_in: int) -> None:
        super().__init__()
        self._stop_in, self._now = stop_in, 0.0

    def monotonic(self) -> float:
        return self._now

    def now(self) -> str:
        return "2026-03-01T00:00:00+00:00"

    def sleep(self, seconds: float) -> None:
        self._now += 1
        self._stop_in -= 1
        if self._stop_in == 0:
            self.stop.set()


class FakeTransport:
    """Gives the replies in turn; a number n is an answer of model n."""

    def __init__(self, replies: Sequence[Reply | int]) -> None:
        self._replies, self.puids = iter(replies), list[str]()

    def predict(self, message: Any) -> Reply:
        self.puids.append(message["meta"]["puid"])
        reply = next(self._replies)
        if isinstance(reply, Reply):
            return reply
        meta = {"puid": self.puids[-1], "routing": {"ab": reply}}
        data = {"names": ["negative", "positive"], "ndarray": [[0.1, 0.9]]}
        return Reply(Outcome.ANSWERED, "200", {"data": data, "meta": meta})

    def feedback(self, message: Any) -> Reply:
        raise AssertionError("nobody sends feedback here")

    def disconnect(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def sender(
    transport: FakeTransport, stop_in: int = 0, ports: dict[int, str] | None = None
) -> PredictionSender:
    options = Options(
        reviews=Path(),
        record=Path(),
        endpoint="",
        graph=Graph(MODELS, None, ports or {}),
        labels=("negative", "positive"),
        tries=3,
    )
    return PredictionSender(transport, FakeClock(stop_in), "r", options)


def test_a_try_that_reached_nobody_draws_nothing() -> None:
    """The answer behind it is the first draw."""
    found = sender(FakeTransport([UNREACHABLE, UNREACHABLE, 1])).ask(REVIEW, 0.0)
    assert found is not None
    assert ("b", 3, 0, []) == (found.model, found.tries, found.repeated, found.failed)


def test_every_try_that_failed_is_recorded() -> None:
    """The first of them decides what the review counts as."""
    found = sender(FakeTransport([UNREACHABLE, FAILED, 0])).ask(REVIEW, 0.0)
    assert found is not None
    assert ("a", 3, 1) == (found.model, found.tries, found.repeated)
    assert [("failed", "500", None)] == [
        (f["outcome"], f["status"], f["model"]) for f in found.failed
    ]


def test_a_stop_between_tries_keeps_the_failure() -> None:
    """Forgotten, the review would be drawn again on resuming, as if nothing had happened."""
    transport = FakeTransport([FAILED, 0])
    found = sender(transport, stop_in=1).ask(REVIEW, 0.0)
    assert found is not None
    assert ("failed", 1, 1) == (found.outcome, found.tries, len(found.failed))
    assert ["r-7"] == transport.puids


def test_a_stop_before_any_draw_leaves_the_review_for_later() -> None:
    """Nothing has been drawn, so nothing is recorded."""
    assert sender(FakeTransport([UNREACHABLE, 0]), stop_in=1).ask(REVIEW, 0.0) is None


@pytest.mark.parametrize("rounds", [0, 2])
def test_puids_differ(rounds: int) -> None:
    """In every session and at every try."""
    transport = FakeTransport([FAILED, FAILED, 0])
    sender(transport).ask(REVIEW, 0.0, rounds)
    first = "r-7" if rounds == 0 else f"r-7.{rounds + 1}.1"
    assert [first, f"r-7.{rounds + 1}.2", f"r-7.{rounds + 1}.3"] == transport.puids


@pytest.mark.parametrize(
    ("detail", "model"),
    [
        ('Post "http://localhost:9001/predict": dial tcp 127.0.0.1:9001: connect: refused', "b"),
        ('Post "http://sentiment-ab-default-a.default.svc.cluster.local:9000/predict": EOF', "a"),
        ('connection error: desc = "transport: Error while dialing: dial tcp [::1]:9501: x"', "b"),
        ('Post "http://localhost:9100/predict": EOF', None),
        ("text 0 holds :9001/ and more", None),
    ],
)
def test_the_executor_names_the_node_that_it_could_not_reach(
    detail: str, model: str | None
) -> None:
    """By its port, which the operator numbers."""
    ports = {9000: "a", 9001: "b", 9501: "b"}
    reply = Reply(Outcome.FAILED, "500", detail=detail)
    found = sender(FakeTransport([reply, 0]), ports=ports).ask(REVIEW, 0.0)
    assert found is not None
    assert [model] == [failed["model"] for failed in found.failed]


@pytest.mark.parametrize(
    ("meta", "model"),
    [
        ({"requestPath": {"b": "b:1"}}, "b"),
        ({"requestPath": {"b": "b:1"}, "puid": "another"}, None),
        ({"routing": {"ab": 0}}, "a"),
        ({"routing": {"ab": "x"}}, None),
        ({}, None),
    ],
    ids=["path", "another-request's", "routing", "bad-routing", "nothing"],
)
def test_an_error_may_name_its_model(meta: dict[str, Any], model: str | None) -> None:
    """In the same fields as an answer."""
    reply = Reply(Outcome.FAILED, "500", {"status": {"info": "no"}, "meta": meta})
    found = sender(FakeTransport([reply, 0])).ask(REVIEW, 0.0)
    assert found is not None
    assert [model] == [failed["model"] for failed in found.failed]
