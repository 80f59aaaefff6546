"""The queue before the model: every sequence once, in turn, within its limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roberta_sentiment.caller import Caller
from roberta_sentiment.errors import OverloadedError
from roberta_sentiment.run.batching import Padding
from roberta_sentiment.run.request_queue import Job, RequestQueue


def waiting(**limits: Any) -> RequestQueue:
    given = {"budget": 512, "max_batch": None, "max_queue": 8, "max_queue_tokens": 800, **limits}
    return RequestQueue(padding=Padding.EVERYWHERE, **given)


def job(lengths: Sequence[int]) -> Job:
    return Job([[2] * length for length in lengths], 2, Caller())


requests = st.lists(st.lists(st.integers(1, 600), min_size=1, max_size=9), min_size=1, max_size=9)


@given(requests, st.integers(1, 4), st.sampled_from([None, 1, 3]), st.data())
def test_every_sequence_is_taken_once(
    lengths: list[list[int]], parts: int, max_batch: int | None, data: st.DataObject
) -> None:
    """Nothing is lost, doubled or left in the counts when callers leave."""
    queue = waiting(max_batch=max_batch)
    jobs = [job(each) for each in lengths]
    for each in jobs:
        queue.add(each)
    gone = data.draw(st.sampled_from([None, *jobs]), "gone")
    taken: list[tuple[int, int]] = []
    if gone:
        assert queue.drop(gone) == sum(map(len, gone.sequences))
        assert 0 == queue.drop(gone)
    while queue:
        assert queue.tokens == sum(item[0] for each in jobs for item in each.queued)
        batch = queue.next_batch(parts, 4)
        sizes = [item[0] for item in batch]
        assert len(batch) == 1 or max(sizes) * len(sizes) <= 512
        assert len(batch) <= (max_batch or len(batch))
        taken += [(jobs.index(item[3]), item[2]) for item in batch]
    expected = [(i, at) for i, each in enumerate(lengths) for at in range(len(each))]
    assert [pair for pair in expected if jobs[pair[0]] is not gone] == sorted(taken)
    assert 0 == queue.tokens
    assert set(jobs) - {gone} == queue.jobs


def test_jobs_take_turns_with_their_longest_sequence() -> None:
    """A caller with many sequences waits for one batch of each of the others."""
    queue = waiting(max_batch=1)
    large, small = job([9, 8, 7]), job([3, 5])
    queue.add(large)
    queue.add(small)
    order = [queue.next_batch(1, 1)[0] for _ in range(5)]
    assert [9, 5, 8, 3, 7] == [item[0] for item in order]
    assert [large, small, large, small, large] == [item[3] for item in order]


def test_a_batch_holds_its_part_of_what_waits() -> None:
    """Runs that go side by side should end together."""
    queue = waiting()
    queue.add(job([10] * 9))
    assert 3 == len(queue.next_batch(3, 3))
    assert 3 == len(queue.next_batch(2, 3))
    assert 3 == len(queue.next_batch(1, 3))


def sizes_after_a_run(queue: RequestQueue, *callers: Job) -> list[int]:
    """Sequences in each batch with one of two slots free, when a run of each caller has ended."""
    for each in callers:
        queue.add(each)
        each.batches = 1
    sizes = []
    while queue:
        sizes.append(len(queue.next_batch(1, 2)))
    return sizes


def test_the_last_batches_of_a_caller_alone_get_smaller() -> None:
    """Each takes half of what is left, so that runs side by side end together."""
    assert [6, 5, 3, 1, 1] == sizes_after_a_run(waiting(budget=60), job([10] * 16))


def test_with_another_caller_batches_hold_what_they_may() -> None:
    """Until one of them is left: whoever comes next takes the other slot."""
    queue = waiting(budget=60)
    assert [6, 1, 1] == sizes_after_a_run(queue, job([10] * 4), job([10] * 4))


@pytest.mark.parametrize(
    ("waiting_jobs", "tokens", "limit"),
    [(5, 101, None), (6, 101, 6), (6, 100, None), (7, 100, None), (8, 100, 8), (8, 0, 8)],
)
def test_the_last_quarter_is_for_small_callers(
    waiting_jobs: int, tokens: int, limit: int | None
) -> None:
    """Small is up to an eighth of the tokens, where eight callers may wait."""
    queue = waiting()
    for _ in range(waiting_jobs):
        queue.add(job([1]))
    if limit is None:
        queue.refuse_callers(tokens)
        return
    with pytest.raises(OverloadedError, match=rf"the limit is {limit} \(setting max_queue\)"):
        queue.refuse_callers(tokens)


def test_callers_that_arrive_count() -> None:
    """They were let in, and a caller after them would be refused when it has been read."""
    queue = waiting()
    for _ in range(5):
        queue.add(job([1]))
    queue.refuse_callers(0, 2)
    with pytest.raises(OverloadedError, match="8 requests are waiting"):
        queue.refuse_callers(0, 3)


@pytest.mark.parametrize(
    ("queued", "tokens", "refused"),
    [(0, 801, False), (600, 200, False), (600, 201, True), (790, 100, False), (790, 101, True)],
)
def test_tokens_that_wait_are_limited(queued: int, tokens: int, refused: bool) -> None:
    """A request that nothing waits before is taken, and a small one always."""
    queue = waiting()
    if queued:
        queue.add(job([queued]))
    if not refused:
        queue.refuse_tokens(tokens)
        return
    with pytest.raises(OverloadedError, match=r"the limit is 800 \(setting max_queue_tokens\)"):
        queue.refuse_tokens(tokens)


def test_the_wait_follows_the_measured_speed() -> None:
    """A tenth of each measurement counts; less than a second is said as one."""
    queue = waiting(max_queue=1, max_queue_tokens=10**6)
    queue.add(job([1] * 6001))

    def wait() -> int | None:
        with pytest.raises(OverloadedError) as caught:
            queue.refuse_callers(1)
        return caught.value.retry_after

    assert 4 == wait()  # 2,000 tokens a second are the first guess
    queue.learn_speed(12_001)  # 0.9 * 2,000 + 0.1 * 12,001
    assert 3 == wait()
    queue.learn_speed(10**6)
    assert 1 == wait()
