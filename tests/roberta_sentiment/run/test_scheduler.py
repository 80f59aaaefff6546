"""Many callers, one model: nothing lost, nothing mixed up, nobody starved, nobody hurt."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roberta_sentiment.caller import Caller
from roberta_sentiment.errors import (
    CallerGoneError,
    DeadlineError,
    InferenceError,
    NotReadyError,
    OverloadedError,
    TimeLimitError,
)
from roberta_sentiment.run.batching import RUN_TOKENS, Padding
from roberta_sentiment.run.scheduler import Scheduler

POISON = 666


class Counting:
    """A session whose logits are length and sum of a row; it keeps the lengths of each batch.

    Args:
        mask: whether it hides padding.
        gate: each run waits for it.
    """

    run_cost = 1

    def __init__(self, *, mask: bool = True, gate: threading.Event | None = None) -> None:
        self.padding = Padding.EVERYWHERE if mask else Padding.FORBIDDEN
        self.batches: list[list[int]] = []
        self.began = threading.Semaphore(0)
        self.failure: BaseException = InferenceError("poisoned")
        self._gate = gate

    def run(self, ids: npt.NDArray[Any], lengths: npt.NDArray[Any]) -> npt.NDArray[Any]:
        self.batches.append(lengths.tolist())
        self.began.release()
        if self._gate:
            assert self._gate.wait(30)
        if (ids == POISON).any():
            raise self.failure
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
    lengths: list[int], budget: int, mask: bool, slots: int
) -> None:
    """A lost or doubled position is a wrong answer; the budget bounds memory."""
    session = Counting(mask=mask)
    shared = scheduler(session, parallel_session=session, max_parallel_runs=slots, budget=budget)
    logits, stats = shared.run(rows(lengths))
    np.testing.assert_array_equal([[n, 2 * n] for n in lengths], logits)
    assert sorted(lengths) == sorted(n for batch in session.batches for n in batch)
    for batch in session.batches:
        assert len(batch) == 1 or max(batch) * len(batch) <= budget
        assert max(batch) - min(batch) <= (RUN_TOKENS if mask else 0)
    assert len(session.batches) == stats.batches
    assert sum(max(b) * len(b) - sum(b) for b in session.batches) == stats.padding


def test_a_single_sequence_runs_with_all_threads() -> None:
    """Nothing else could use them."""
    whole, single = Counting(), Counting()
    shared = scheduler(whole, parallel_session=single, max_parallel_runs=2)
    for _ in range(2):
        shared.run(rows([7]))
    assert ([[7], [7]], []) == (whole.batches, single.batches)


def test_a_large_request_runs_side_by_side_in_equal_shares() -> None:
    """Two runs have begun before either has ended, one of them outside the caller's thread."""
    gate = threading.Event()
    whole, single = Counting(), Counting(gate=gate)
    shared = scheduler(whole, parallel_session=single, max_parallel_runs=2)
    pool, calls = start(1, lambda _: shared.run(rows([9] * 8)))
    single.began.acquire()
    assert single.began.acquire(timeout=30)
    gate.set()
    np.testing.assert_array_equal([[9, 18]] * 8, calls[0].result()[0])
    assert ([], [[9] * 4] * 2) == (whole.batches, single.batches)
    pool.shutdown()


def test_what_waited_for_a_single_run_goes_in_parallel() -> None:
    """Two batches of three, and who comes later is in neither."""
    first_gate, gate = threading.Event(), threading.Event()
    whole, single = Counting(gate=first_gate), Counting(gate=gate)
    shared = scheduler(whole, parallel_session=single, max_parallel_runs=2)
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


@pytest.mark.parametrize("before", [1, 2])
@pytest.mark.parametrize("after", [1, 2])
def test_sessions_are_replaced_while_a_run_is_under_way(before: int, after: int) -> None:
    """The run ends where it began, what waits goes to the new sessions, and no slot is lost."""
    gate, new_gate = threading.Event(), threading.Event()
    old: Any = Counting(gate=gate)
    new: Any = Counting(mask=False, gate=new_gate)
    shared = scheduler(old, parallel_session=old if before == 2 else None, max_parallel_runs=2)
    pool, first = start(1, lambda _: shared.run(rows([9])))
    old.began.acquire()
    shared.replace_sessions(new, new if after == 2 else None)
    gate.set()
    first[0].result()
    others, calls = start(1, lambda _: shared.run(rows([4] * 6)))
    for _ in range(after):
        assert new.began.acquire(timeout=30)
    assert not new.began.acquire(blocking=False)
    new_gate.set()
    np.testing.assert_array_equal([[4, 8]] * 6, calls[0].result()[0])
    shared.run(rows([7]))
    assert ([[9]], [7]) == (old.batches, new.batches[-1])
    for executor in (pool, others):
        executor.shutdown()


def test_the_longest_come_first() -> None:
    """The largest memory is asked for at once, and neighbours in length share a batch."""
    session = Counting()
    scheduler(session, budget=200).run(rows([100, 10, 100, 10]))
    assert [[100, 100], [10, 10]] == session.batches


def test_a_model_that_must_not_share_runs_alone() -> None:
    """Its answers would depend on the other texts in the batch."""
    session = Counting()
    scheduler(session, one_per_batch=True).run(rows([5, 5, 5]))
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


@contextlib.contextmanager
def busy(**options: Any) -> Iterator[tuple[Scheduler, Callable[..., Any]]]:
    """A scheduler whose model is in a run until the end of the block, and what queues a call."""
    gate = threading.Event()
    session = Counting(gate=gate)
    shared = scheduler(session, **options)
    pool = ThreadPoolExecutor(64)
    first = pool.submit(shared.run, rows([1]))
    assert session.began.acquire(timeout=30)

    def call(sequences: Any, caller: Caller | None = None, queued: int = 1) -> Any:
        future = pool.submit(shared.run, sequences, caller)
        until_equal(lambda: len(shared._queue.jobs) + future.done(), queued)
        return future

    try:
        yield shared, call
    finally:
        gate.set()
        first.result(30)
        pool.shutdown()
        shared.close()


def queued(scheduler: Scheduler, count: int) -> None:
    """Wait until so many callers wait."""
    until_equal(lambda: len(scheduler._queue.jobs), count)


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


def test_a_request_of_many_runs_ends_with_short_ones() -> None:
    """Two slots: none waits long for the other's last run."""
    session = Counting()
    shared = scheduler(session, parallel_session=session, max_parallel_runs=2, budget=60)
    shared.run(rows([10] * 40))
    assert [1, 1] == sorted(map(len, session.batches))[:2]


def test_the_next_batch_is_made_ready_while_one_runs() -> None:
    """As soon as it is full; until then whoever comes may still join it."""
    with busy(prepare_ahead=True, budget=20) as (shared, call):
        joining = call(rows([9]), queued=1)
        until_equal(lambda: len(shared._queue), 1)
        filling = call(rows([9, 9]), queued=2)
        until_equal(lambda: len(shared._queue), 1)
    for answered, expected in ((joining, 1), (filling, 2)):
        assert [[9, 18]] * expected == answered.result()[0].tolist()


def test_a_single_caller_does_not_change_threads() -> None:
    """A thread switch costs time that a single request must not pay."""
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
    assert caught.value.retry_after is not None
    assert caught.value.retry_after >= 1
    gate.set()
    for call in (*calls, *waiting):
        call.result()
    pool.shutdown()
    others.shutdown()


def test_a_full_queue_refuses_without_the_lock() -> None:
    """Whoever holds it may wait for a CPU; callers that arrive count, if they will have to wait."""
    arrived: list[int] = []
    caller = Caller()
    caller.on_queued = lambda: arrived.append(1)
    idle = scheduler(Counting(), max_queue=2)
    with idle._lock:
        idle.refuse_overload(2)
        with pytest.raises(OverloadedError, match="2 requests are waiting"):
            idle.refuse_overload(3)
    with busy(max_queue=2) as (shared, call):
        call(rows([5]), caller)
        assert [1] == arrived
        with shared._lock, pytest.raises(OverloadedError, match="2 requests are waiting"):
            shared.refuse_overload(1)


def test_a_full_queue_takes_what_fills_it_exactly() -> None:
    """The limit itself is still allowed."""
    with busy(max_queue_tokens=20) as (shared, call):
        first, second = call(rows([5, 5])), call(rows([5, 5]), queued=2)
    for future in (first, second):
        np.testing.assert_array_equal([[5, 10]] * 2, future.result(30)[0])
    assert 0 == shared._queue.tokens


def test_a_small_caller_has_a_place_beside_a_huge_one() -> None:
    """The caller that fills the queue is refused; each caller has a share of it."""
    with busy(max_queue=10, max_queue_tokens=1000) as (shared, call):
        huge = call(rows([512] * 50))
        with pytest.raises(OverloadedError, match="this request has 101, the limit is 1000"):
            shared.run(rows([101]))
        small = [call(rows([10] * 10), queued=2 + i) for i in range(8)]
        last = call(rows([5]), queued=10)
        with pytest.raises(OverloadedError, match="10 requests are waiting, the limit is 10"):
            shared.run(rows([5]))
    for future in (huge, *small, last):
        future.result(30)


def test_the_last_places_are_for_small_callers() -> None:
    """However many large requests come, they leave a quarter of the queue to others."""
    with busy(max_queue=8, max_queue_tokens=10**6) as (shared, call):
        large = [call(rows([200_000]), queued=1 + i) for i in range(4)]
        small = [call(rows([5]), queued=5 + i) for i in range(2)]
        with pytest.raises(OverloadedError, match="6 requests are waiting, the limit is 6"):
            shared.run(rows([125_001]))
        small += [call(rows([5]), queued=7 + i) for i in range(2)]
    for future in (*large, *small):
        future.result(30)


def test_a_large_request_is_taken_when_nothing_waits() -> None:
    """A limit of the queue must not forbid what the request limits allow."""
    logits, _ = scheduler(Counting(), max_queue_tokens=10).run(rows([500, 500]))
    assert 2 == len(logits)


@pytest.mark.skipif(sys.platform != "linux", reason="niceness belongs to processes there")
def test_batches_yield_the_cpu_to_requests() -> None:
    """Only the threads that run batches do; a caller's own thread keeps its priority."""
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
    """An exception that is not the model's must not leave the others waiting forever."""

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


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_many_callers_get_their_own_answers(slots: int) -> None:
    """16 threads with random requests, over and over: every number is the caller's own."""
    session = Counting()
    shared = scheduler(session, parallel_session=Counting(), max_parallel_runs=slots)

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
    assert not shared._queue
    assert not shared._queue._rotation
    pool.shutdown()
    assert not shared._queue.jobs
    until_equal(lambda: shared._free_slots, slots)


FAILURES = [MemoryError(), KeyError("a bug"), SystemExit(1), KeyboardInterrupt(), GeneratorExit()]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
def test_every_caller_of_a_failing_batch_gets_the_error(failure: BaseException) -> None:
    """Whatever is raised, also when the batch is run again for each caller; then it goes on."""
    gate = threading.Event()
    session = Counting(gate=gate)
    session.failure = failure
    shared = scheduler(session)
    pool, first = start(1, lambda _: shared.run(rows([1])))
    session.began.acquire()
    tokens = [POISON, 4, POISON]
    others, calls = start(3, lambda i: shared.run(rows([7, 7], token=tokens[i])))
    queued(shared, 3)
    gate.set()
    first[0].result(30)
    np.testing.assert_array_equal([[7, 28]] * 2, calls[1].result(30)[0])
    for poisoned in (calls[0], calls[2]):
        with pytest.raises(InferenceError, match="interrupted; send the request again"):
            poisoned.result(30)
    np.testing.assert_array_equal([[2, 4]] * 2, shared.run(rows([2, 2]))[0])
    for executor in (pool, others):
        executor.shutdown()


def test_logits_of_another_shape_are_a_reported_failure() -> None:
    """A graph that joins its rows would leave its callers without an answer."""

    class Joined(Counting):
        def run(self, ids: npt.NDArray[Any], lengths: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return super().run(ids, lengths)[:1]

    with pytest.raises(InferenceError, match=r"shape \[1, 2\]; \[2, 2\] was expected"):
        scheduler(Joined()).run(rows([3, 3]))


def test_a_failed_request_gives_its_tokens_back() -> None:
    """Tokens that nobody waits for any more would refuse later callers."""
    shared = scheduler(Counting(), max_queue_tokens=100)
    with pytest.raises(InferenceError):
        shared.run([[POISON] * 512, *rows([500] * 20)])
    np.testing.assert_array_equal([[500, 1000]] * 2, shared.run(rows([500, 500]))[0])


class Clock:
    """A clock for each thread, which only `pass_time` moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._local = threading.local()
        fake = SimpleNamespace(perf_counter=lambda: getattr(self._local, "now", 0.0))
        monkeypatch.setattr("roberta_sentiment.run.scheduler.time", fake)

    def pass_time(self, seconds: float) -> None:
        self._local.now = getattr(self._local, "now", 0.0) + seconds


class Slow(Counting):
    """Each run takes 10 s of its thread's clock."""

    def __init__(self, clock: Clock, **options: Any) -> None:
        super().__init__(**options)
        self._clock = clock

    def run(self, ids: npt.NDArray[Any], lengths: npt.NDArray[Any]) -> npt.NDArray[Any]:
        self._clock.pass_time(10)
        return super().run(ids, lengths)


def test_the_time_of_a_request_s_runs_is_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a metric, and what is left is the time in the queue."""
    shared = scheduler(Slow(Clock(monkeypatch)), budget=100)
    _, single = shared.run(rows([3]))
    assert (10.0, 0.0) == (single.infer_s, single.queue_s)
    _, three = shared.run(rows([100] * 3))
    assert (3, 30.0) == (three.batches, three.infer_s)


@pytest.mark.parametrize(("slots", "runs"), [(1, 1), (2, 2)], ids=["one after another", "two"])
def test_the_wait_is_estimated_from_the_measured_speed(
    monkeypatch: pytest.MonkeyPatch, slots: int, runs: int
) -> None:
    """20 tokens in 10 s for each run; a caller that comes back too early is refused again."""
    gate = threading.Event()
    gate.set()
    session = Slow(Clock(monkeypatch), gate=gate)
    parallel = {"parallel_session": Slow(session._clock, gate=gate), "max_parallel_runs": slots}
    shared = scheduler(session, **(parallel if slots > 1 else {}), budget=20, max_queue=1)
    shared.run(rows([20] * 200))
    until_equal(lambda: shared._free_slots, slots)
    speed = 2000 * 0.9**200 + 2.0 * runs * (1 - 0.9**200)
    gate.clear()
    pool, first = start(1, lambda _: shared.run(rows([20] * 3)))
    until_equal(lambda: shared._free_slots, 0)
    with pytest.raises(OverloadedError) as caught:
        shared.run(rows([5]))
    waiting = 20 * (3 - slots)
    last_alone = 0.9 * speed + 0.1 * 2.0  # the last of the 200 runs may have had no neighbour
    measured = shared._queue._speed
    assert measured in (pytest.approx(speed), pytest.approx(last_alone))
    assert -(-waiting // measured) == caught.value.retry_after
    assert f"try again in {caught.value.retry_after} s" in str(caught.value)
    gate.set()
    first[0].result(30)
    pool.shutdown()


def test_a_caller_that_cancels_is_not_run() -> None:
    """Nobody would read the answer; the others go on."""
    with busy() as (shared, call):
        gone = Caller()
        dropped = call(rows([9] * 3), gone)
        stays = call(rows([8]), queued=2)
        gone.cancel()
        with pytest.raises(CallerGoneError) as caught:
            dropped.result(30)
        assert 27 == caught.value.tokens
    assert [[1], [8]] == shared._session.batches  # type: ignore[attr-defined]
    np.testing.assert_array_equal([[8, 16]], stays.result(30)[0])


def test_a_caller_that_had_cancelled_is_not_run() -> None:
    """The cancellation may come before the request is queued."""
    session = Counting()
    gone = Caller()
    gone.cancel()
    with pytest.raises(CallerGoneError):
        scheduler(session).run(rows([9]), gone)
    assert [] == session.batches


def test_after_a_cancel_only_the_run_in_flight_is_spent() -> None:
    """The rest of a large request is dropped although its first batch runs."""
    gate = threading.Event()
    session = Counting(gate=gate)
    shared = scheduler(session, budget=100)
    gone = Caller()
    pool, calls = start(1, lambda _: shared.run(rows([100] * 50), gone))
    session.began.acquire()
    gone.cancel()
    with pytest.raises(CallerGoneError) as caught:
        calls[0].result(30)
    gate.set()
    assert 4900 == caught.value.tokens
    shared.close()
    assert [[100]] == session.batches
    pool.shutdown()


@pytest.mark.parametrize(
    ("caller", "error"),
    [
        pytest.param(lambda late: Caller(has_left=late.is_set), CallerGoneError, id="connection"),
        pytest.param(lambda _: Caller(time.monotonic() + 0.05), DeadlineError, id="deadline"),
        pytest.param(lambda _: limited(0.05), TimeLimitError, id="the server's limit"),
    ],
)
def test_a_caller_that_does_not_say_so_is_dropped_too(
    caller: Callable[[threading.Event], Caller], error: type[Exception]
) -> None:
    """It is found out while the model is still busy with another, who gets the answer."""
    late = threading.Event()
    with busy() as (shared, call):
        future = call(rows([9]), caller(late))
        late.set()
        with pytest.raises(error):
            future.result(30)
        assert 0 == shared._queue.tokens
    assert [[1]] == shared._session.batches  # type: ignore[attr-defined]


def limited(seconds: float) -> Caller:
    caller = Caller()
    caller.limit_time(seconds)
    return caller


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(st.lists(st.integers(1, 60), min_size=1, max_size=8), st.booleans()), max_size=20
    )
)
def test_no_run_is_spent_on_those_who_have_gone(
    callers: list[tuple[list[int], bool]],
) -> None:
    """A caller who leaves before a run begins is in none; all others are answered."""
    with busy(budget=64) as (shared, call):
        who = [Caller() for _ in callers]
        futures = [
            call([[i + 2] * n for n in lengths], who[i], queued=i + 1)
            for i, (lengths, _) in enumerate(callers)
        ]
        for caller, (_, leaves) in zip(who, callers, strict=True):
            if leaves:
                caller.cancel()
    expected = sorted(n for lengths, leaves in callers if not leaves for n in lengths)
    batches = shared._session.batches[1:]  # type: ignore[attr-defined]
    assert expected == sorted(n for batch in batches for n in batch)
    for i, (future, (lengths, leaves)) in enumerate(zip(futures, callers, strict=True)):
        if leaves:
            assert isinstance(future.exception(30), CallerGoneError)
        else:
            np.testing.assert_array_equal([[n, n * (i + 2)] for n in lengths], future.result(30)[0])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=30), max_size=6))
def test_a_newcomer_waits_for_one_turn_of_each_before_it(callers: list[list[int]]) -> None:
    """However much they have in the queue."""
    with busy(budget=60) as (shared, call):
        for i, lengths in enumerate(callers):
            call(rows(lengths), queued=i + 1)
        call(rows([61]), queued=len(callers) + 1)
    batches = shared._session.batches[1:]  # type: ignore[attr-defined]
    assert batches.index([61]) <= len(callers)


def test_a_closed_scheduler_ends_every_wait() -> None:
    """Waiting callers get an error, new ones are refused, the threads end."""
    with busy() as (shared, call):
        future = call(rows([9]))
        closing = threading.Thread(target=shared.close)
        closing.start()
        with pytest.raises(NotReadyError, match="the server is stopping"):
            future.result(30)
        with pytest.raises(NotReadyError, match="the server is stopping"):
            shared.run(rows([1]))
    closing.join(30)
    assert not any(thread.is_alive() for thread in (closing, *shared._threads))
    with pytest.raises(NotReadyError, match="the server is stopping"):
        shared.run(rows([1]))
