"""The work queue keeps its promises under any mix of adds and workers: nothing is lost, nothing is held twice."""

from __future__ import annotations

import asyncio
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from medfinetune_operator.workqueue import FIRST_WAIT, LONGEST_WAIT, Key, WorkQueue

KEYS = st.tuples(st.just("ns"), st.sampled_from("abcd"))
PAUSES = st.integers(0, 3)
"""Turns of the event loop that something takes."""


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@given(st.lists(st.tuples(KEYS, PAUSES), max_size=40), st.lists(PAUSES, min_size=1, max_size=4), st.integers(1, 4))
def test_every_add_is_followed_by_a_look_and_no_key_is_held_twice(adds: list[tuple[Key, int]], works: list[int], workers: int) -> None:
    async def play() -> None:
        queue = WorkQueue()
        added, looked, held = Counter[Key](), dict[Key, int](), Counter[Key]()

        async def work(pause: int) -> None:
            while True:
                key = await queue.take()
                held[key] += 1
                assert held[key] == 1
                looked[key] = added[key]  # what the look sees: everything added before it began
                await turns(pause)
                held[key] -= 1
                queue.done(key)

        tasks = [asyncio.ensure_future(work(works[each % len(works)])) for each in range(workers)]
        for key, pause in adds:
            added[key] += 1
            queue.add(key)
            await turns(pause)
        await turns(400)
        assert looked == dict(added)
        assert len(queue) == 0
        failed = [task for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        assert not failed

    asyncio.run(play())


@given(st.lists(KEYS, min_size=1, max_size=30))
def test_a_key_waits_once_and_in_order(keys: list[Key]) -> None:
    async def play() -> list[Key]:
        queue = WorkQueue()
        for key in keys:
            queue.add(key)
        return [await queue.take() for _ in range(len(queue))]

    assert asyncio.run(play()) == list(dict.fromkeys(keys))


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=10))
def test_of_several_appointments_the_earliest_counts_and_a_look_makes_it_void(seconds: list[float]) -> None:
    async def play() -> None:
        queue, loop, key = WorkQueue(), asyncio.get_running_loop(), ("ns", "a")
        now = loop.time()
        for each in seconds:
            queue.add_after(key, each)
        appointment = queue._later[key]
        assert now + min(seconds) <= appointment.when() <= loop.time() + min(seconds)
        queue.add(key)
        await queue.take()
        assert appointment.cancelled()

    asyncio.run(play())


def test_an_appointment_comes() -> None:
    async def play() -> Key:
        queue = WorkQueue()
        queue.add_after(("ns", "a"), 0.01)
        return await asyncio.wait_for(queue.take(), 30)

    assert asyncio.run(play()) == ("ns", "a")


def test_failures_wait_twice_as_long_each_time_up_to_a_bound_until_one_succeeds() -> None:
    async def play() -> tuple[list[float], float]:
        queue, key = WorkQueue(), ("ns", "a")
        waits = [queue.retry(key) for _ in range(40)]
        queue.succeeded(key)
        return waits, queue.retry(key)

    waits, after = asyncio.run(play())
    assert waits == [min(FIRST_WAIT * 2**times, LONGEST_WAIT) for times in range(40)]
    assert after == FIRST_WAIT
