"""Many callers, one model: nothing lost, nothing mixed up, nobody starved, nobody hurt."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roberta_sentiment.batching import RUN_TOKENS, Padding
from roberta_sentiment.errors import InferenceError, OverloadedError
from roberta_sentiment.scheduler import Scheduler

POISON = 666


class Counting:
    """A session whose logits are length and sum of a row; it keeps the lengths of each batch.

    Args:
        mask: whether it hides padding.
        gate: each run waits for it.
    """

    def __init__(self, *, mask: bool = True, gate: threading.Event | None = None) -> None:
        self.padding = Padding.EVERYWHERE if mask else Padding.FORBIDDEN
        self.batches: list[list[int]] = []
        self.began = threading.Semaphore(0)
        self._gate = gate

    def run(self, ids: npt.NDArray[Any], lengths: npt.NDArray[Any]) -> npt.NDArray[Any]:
        self.batches.append(lengths.tolist())
        self.began.release()
        if self._gate:
            assert self._gate.wait(30)
        if (ids == POISON).any():
            raise InferenceError("poisoned")
        seen = np.arange(ids.shape[1]) < lengths[:, None]
        sums = (ids * seen).sum(axis=1)
        return np.asarray(np.stack([lengths, sums], axis=1), dtype=np.float32)


def scheduler(session: Counting, **options: Any) -> Scheduler:
    limits = {"budget": 512, "max_queue": 100, "max_queue_tokens": 10**6, **options}
    return Scheduler(session, classes=2, pad_id=1, **limits)  # type: ignore[arg-type]


def rows(lengths: Sequence[int], token: int = 2) -> list[list[int]]:
    return [[token] * length for length in lengths]


lengths_lists = st.lists(st.integers(1, 512), min_size=1, max_size=100)


@settings(deadline=None)
@given(lengths_lists, st.integers(1, 2000), st.booleans(), st.integers(1, 3))
def test_one_caller_gets_every_answer_within_the_budget(
    lengths: list[int], budget: int, mask: bool, places: int
) -> None:
    """A lost or doubled position is a wrong answer; the budget bounds memory."""
    session = Counting(mask=mask)
    shared = scheduler(session, single=session, places=places, budget=budget)
    logits, share = shared.run(rows(lengths))
    np.testing.assert_array_equal([[n, 2 * n] for n in lengths], logits)
    assert sorted(lengths) == sorted(n for batch in session.batches for n in batch)
    for batch in session.batches:
        assert len(batch) == 1 or max(batch) * len(batch) <= budget
        assert max(batch) - min(batch) <= (RUN_TOKENS if mask else 0)
    assert len(session.batches) == share.batches
    assert sum(max(b) * len(b) - sum(b) for b in session.batches) == share.padding


def test_a_lone_sequence_runs_with_all_threads() -> None:
    """Nothing else could use them."""
    whole, single = Counting(), Counting()
    shared = scheduler(whole, single=single, places=2)
    for _ in range(2):
        shared.run(rows([7]))
    assert ([[7], [7]], []) == (whole.batches, single.batches)


def test_a_large_request_runs_side_by_side_in_equal_shares() -> None:
    """Two runs have begun before either has ended, one of them outside the caller's thread."""
    gate = threading.Event()
    whole, single = Counting(), Counting(gate=gate)
    shared = scheduler(whole, single=single, places=2)
    pool, calls = start(1, lambda _: shared.run(rows([9] * 8)))
    single.began.acquire()
    assert single.began.acquire(timeout=30)
    gate.set()
    np.testing.assert_array_equal([[9, 18]] * 8, calls[0].result()[0])
    assert ([], [[9] * 4] * 2) == (whole.batches, single.batches)
    pool.shutdown()


def test_what_waited_for_a_lone_run_goes_side_by_side() -> None:
    """Two batches of three, and who comes later is in neither."""
    first_gate, gate = threading.Event(), threading.Event()
    whole, single = Counting(gate=first_gate), Counting(gate=gate)
    shared = scheduler(whole, single=single, places=2)
    pool, first = start(1, lambda _: shared.run(rows([9])))
    whole.began.acquire()
    others, calls = start(6, lambda i: shared.run(rows([20 + i], token=3 + i)))
    queued(shared, 6)
    first_gate.set()
    single.began.acquire()
    assert single.began.acquire(timeout=30)
    late, last = start(1, lambda _: shared.run(rows([5])))
    queued(shared, 7)
    gate.set()
    for i, call in enumerate(calls):
        np.testing.assert_array_equal([[20 + i, (20 + i) * (3 + i)]], call.result()[0])
    np.testing.assert_array_equal([[5, 10]], last[0].result()[0])
    assert [3, 3] == [len(batch) for batch in single.batches[:2]]
    first[0].result()
    for executor in (pool, others, late):
        executor.shutdown()


def test_the_longest_come_first() -> None:
    """The largest memory is asked for at once, and neighbours in length share a batch."""
    session = Counting()
    scheduler(session, budget=200).run(rows([100, 10, 100, 10]))
    assert [[100, 100], [10, 10]] == session.batches


def test_a_model_that_must_not_share_runs_alone() -> None:
    """Its answers would depend on batch mates."""
    session = Counting()
    scheduler(session, alone=True).run(rows([5, 5, 5]))
    assert [[5], [5], [5]] == session.batches


def start(count: int, call: Callable[[int], Any]) -> tuple[ThreadPoolExecutor, list[Any]]:
    pool = ThreadPoolExecutor(count)
    return pool, [pool.submit(call, i) for i in range(count)]


def until_equal(value: Callable[[], int], expected: int) -> None:
    """Wait until other threads have brought a value to what is expected."""
    for _ in range(3000):
        if value() == expected:
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"{value()}, expected {expected}")


def queued(scheduler: Scheduler, count: int) -> None:
    """Wait until so many callers wait."""
    until_equal(lambda: len(scheduler._waiting), count)


def test_what_waits_together_runs_together() -> None:
    """Seven callers that come while the model is busy share its next run."""
    gate = threading.Event()
    session = Counting(gate=gate)
    shared = scheduler(session)
    pool, first = start(1, lambda _: shared.run(rows([9])))
    session.began.acquire()
    others, calls = start(7, lambda i: shared.run(rows([10 + i], token=3 + i)))
    queued(shared, 7)
    gate.set()
    np.testing.assert_array_equal([[9, 18]], first[0].result()[0])
    for i, call in enumerate(calls):
        np.testing.assert_array_equal([[10 + i, (10 + i) * (3 + i)]], call.result()[0])
    assert [1, 7] == [len(batch) for batch in session.batches]
    pool.shutdown()
    others.shutdown()


def test_a_lone_caller_does_not_change_threads() -> None:
    """Handing over costs time that a lone request must not pay."""
    seen: list[int] = []

    class Watching(Counting):
        def run(self, ids: npt.NDArray[Any], lengths: npt.NDArray[Any]) -> npt.NDArray[Any]:
            seen.append(threading.get_ident())
            return super().run(ids, lengths)

    scheduler(Watching()).run(rows([3]))
    assert [threading.get_ident()] == seen


def test_a_long_request_does_not_block_a_short_one() -> None:
    """Turns are taken batch by batch, not request by request."""
    gate = threading.Event()
    session = Counting(gate=gate)
    shared = scheduler(session)
    pool, long = start(1, lambda _: shared.run(rows([512] * 50)))
    session.began.acquire()
    other, short = start(1, lambda _: shared.run(rows([5])))
    queued(shared, 2)
    gate.set()
    short[0].result()
    long[0].result()
    assert session.batches.index([5]) <= 2
    pool.shutdown()
    other.shutdown()


def test_a_failure_hurts_only_its_caller() -> None:
    """A batch that fails is run again for each of its callers."""
    gate = threading.Event()
    session = Counting(gate=gate)
    shared = scheduler(session)
    pool, first = start(1, lambda _: shared.run(rows([1])))
    session.began.acquire()
    tokens = [3, POISON, 4]
    others, calls = start(3, lambda i: shared.run(rows([7], token=tokens[i])))
    queued(shared, 3)
    gate.set()
    first[0].result()
    np.testing.assert_array_equal([[7, 21]], calls[0].result()[0])
    np.testing.assert_array_equal([[7, 28]], calls[2].result()[0])
    with pytest.raises(InferenceError, match="poisoned"):
        calls[1].result()
    np.testing.assert_array_equal([[2, 4]], shared.run(rows([2]))[0])
    pool.shutdown()
    others.shutdown()


def test_the_rest_of_a_failed_request_is_not_run() -> None:
    """Its answer is an error already."""
    session = Counting()
    with pytest.raises(InferenceError):
        scheduler(session).run([[POISON] * 512, *rows([500] * 20)])
    assert 1 == len(session.batches)


@pytest.mark.parametrize(
    ("limits", "lengths", "reason"),
    [
        ({"max_queue": 2}, [1], "2 requests are waiting, the limit is 2 .setting max_queue."),
        ({"max_queue_tokens": 20}, [11], "10 tokens are waiting and this request has 11"),
    ],
)
def test_a_full_queue_refuses_at_once(
    limits: dict[str, int], lengths: list[int], reason: str
) -> None:
    """While two wait; those inside are answered all the same."""
    gate = threading.Event()
    session = Counting(gate=gate)
    shared = scheduler(session, **limits)
    pool, calls = start(1, lambda _: shared.run(rows([400])))
    session.began.acquire()
    others, waiting = start(2, lambda _: shared.run(rows([5])))
    queued(shared, 2)
    with pytest.raises(OverloadedError, match=reason) as caught:
        shared.run(rows(lengths))
    assert caught.value.retry_after >= 1
    gate.set()
    for call in (*calls, *waiting):
        call.result()
    pool.shutdown()
    others.shutdown()


def test_a_large_request_is_taken_when_nothing_waits() -> None:
    """A limit of the queue must not forbid what the request limits allow."""
    logits, _ = scheduler(Counting(), max_queue_tokens=10).run(rows([500, 500]))
    assert 2 == len(logits)


@pytest.mark.skipif(sys.platform != "linux", reason="niceness belongs to processes there")
def test_batches_yield_the_cpu_to_requests() -> None:
    """Only the threads that run batches do; a caller's own thread stays as it is."""
    nice: dict[str, int] = {}

    class Watching(Counting):
        def run(self, ids: npt.NDArray[Any], lengths: npt.NDArray[Any]) -> npt.NDArray[Any]:
            at = threading.get_native_id()
            nice[threading.current_thread().name] = os.getpriority(os.PRIO_PROCESS, at)
            return super().run(ids, lengths)

    before = os.getpriority(os.PRIO_PROCESS, 0)
    shared = scheduler(Watching())
    shared.run(rows([3]))
    shared.run(rows([3, 3]))
    name = threading.current_thread().name
    assert {name: before, "roberta-run-0": min(19, before + 5)} == nice


def test_an_interrupted_caller_passes_the_model_on() -> None:
    """An exception that is not the model's must not leave the others waiting for ever."""

    class Interrupted(Counting):
        def run(self, ids: npt.NDArray[Any], lengths: npt.NDArray[Any]) -> npt.NDArray[Any]:
            if (ids == POISON).any():
                super().run(ids * 0, lengths)
                raise KeyboardInterrupt
            return super().run(ids, lengths)

    gate = threading.Event()
    session = Interrupted(gate=gate)
    shared = scheduler(session)
    pool, first = start(1, lambda _: shared.run([[POISON]]))
    session.began.acquire()
    other, second = start(1, lambda _: shared.run(rows([100])))
    queued(shared, 1)
    gate.set()
    with pytest.raises(KeyboardInterrupt):
        first[0].result()
    np.testing.assert_array_equal([[100, 200]], second[0].result(timeout=30)[0])
    pool.shutdown()
    other.shutdown()


@pytest.mark.parametrize("places", [1, 2, 5])
def test_many_callers_get_their_own_answers(places: int) -> None:
    """16 threads with random requests, over and over: every number is the caller's own."""
    session = Counting()
    shared = scheduler(session, single=Counting(), places=places)

    def caller(seed: int) -> None:
        draw = np.random.default_rng(seed)
        for _ in range(50):
            lengths = draw.integers(1, 100, draw.integers(1, 10)).tolist()
            if not draw.integers(10):
                with pytest.raises(InferenceError):
                    shared.run([*rows(lengths, token=seed + 2), [POISON]])
            logits, _ = shared.run(rows(lengths, token=seed + 2))
            np.testing.assert_array_equal([[n, n * (seed + 2)] for n in lengths], logits)

    pool, calls = start(16, caller)
    for call in calls:
        call.result(timeout=60)
    assert not shared._items
    assert not shared._turns
    pool.shutdown()
    assert not shared._waiting
    until_equal(lambda: shared._free, places)
