"""Blocking calls in a bounded pool of threads."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import pytest

from blob_service.drivers.errors import DriverError
from blob_service.drivers.threads import ThreadPool, settle


@pytest.fixture
async def pool() -> AsyncIterator[ThreadPool]:
    pool = ThreadPool("pooled", 2)
    yield pool
    await pool.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pooled")]


def fail() -> None:
    raise FileNotFoundError("nothing here")


async def cancel(task: asyncio.Task[Any], released: threading.Event, *, times: int = 1) -> None:
    """Cancel a task, which is told so only when what it waits for was released and has ended."""
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0.01)
    assert not task.done()
    released.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_call_runs_in_another_thread_and_gives_its_result(pool: ThreadPool) -> None:
    assert await pool.run(threading.get_ident) != threading.get_ident()
    assert await pool.complete(lambda: "result") == "result"
    assert await pool.start(lambda: "result") == "result"


async def test_what_a_call_raises_reaches_the_caller(pool: ThreadPool) -> None:
    for run in (pool.run, pool.complete, pool.start):
        with pytest.raises(FileNotFoundError, match="nothing here"):
            await run(fail)


async def test_no_more_calls_than_threads_go_on_at_once(pool: ThreadPool) -> None:
    lock = threading.Lock()
    running: list[int] = [0]
    most: list[int] = [0]

    def call() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.005)
        with lock:
            running[0] -= 1

    await asyncio.gather(*(pool.run(call) for _ in range(10)))
    assert most == [2]


async def test_a_cancelled_caller_waits_for_its_call_and_its_result_is_discarded(pool: ThreadPool) -> None:
    begun, released = threading.Event(), threading.Event()
    discarded: list[str] = []

    def call() -> str:
        begun.set()
        released.wait(10)
        return "result"

    task = asyncio.create_task(pool.run(call, discard=discarded.append))
    await asyncio.to_thread(begun.wait, 10)
    await cancel(task, released, times=3)
    assert discarded == ["result"]


async def test_a_result_that_never_was_is_not_discarded(pool: ThreadPool) -> None:
    begun, released = threading.Event(), threading.Event()
    discarded: list[object] = []

    def call() -> None:
        begun.set()
        released.wait(10)
        fail()

    task = asyncio.create_task(pool.run(call, discard=discarded.append))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    released.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert discarded == []


@pytest.mark.parametrize("must_complete", [False, True])
async def test_a_call_cancelled_before_it_began_happens_only_if_it_must(
    pool: ThreadPool, must_complete: bool
) -> None:
    released = threading.Event()
    happened = threading.Event()
    busy = [asyncio.create_task(pool.run(lambda: released.wait(10))) for _ in range(2)]
    await asyncio.sleep(0.01)
    task = asyncio.create_task((pool.complete if must_complete else pool.run)(happened.set))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.sleep(0.01)
    assert task.done() is not must_complete
    released.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.gather(*busy)
    assert happened.is_set() is must_complete


async def test_settling_waits_out_a_cancellation_and_then_tells_of_it(pool: ThreadPool) -> None:
    released = threading.Event()
    future = pool.start(lambda: released.wait(10))
    task = asyncio.create_task(settle(future))
    await asyncio.sleep(0.01)
    await cancel(task, released)
    assert future.done()


async def test_a_closed_pool_refuses_calls_and_finishes_those_it_has() -> None:
    pool = ThreadPool("closing", 1)
    running = asyncio.create_task(pool.run(lambda: time.sleep(0.05) or "finished"))
    await asyncio.sleep(0.01)
    await pool.close()
    assert await running == "finished"
    with pytest.raises(DriverError, match="closing: the driver is closed"):
        await pool.run(fail)


async def test_a_coroutine_and_the_calls_that_it_makes_share_one_thread(pool: ThreadPool) -> None:
    variable = ContextVar("variable", default="")

    async def work() -> tuple[set[int], str]:
        threads = {threading.get_ident(), await pool.run(threading.get_ident)}
        threads |= {await pool.complete(threading.get_ident), await pool.together(ident)}
        return threads, variable.get()

    async def ident() -> int:
        return threading.get_ident()

    variable.set("the caller's")
    threads, value = await pool.together(work)
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    assert value == "the caller's"
    # Others go to threads of their own again.
    assert await pool.run(lambda: threading.current_thread().name.startswith("pooled"))


async def test_what_a_coroutine_in_a_thread_raises_reaches_the_caller(pool: ThreadPool) -> None:
    async def work() -> None:
        await pool.run(fail)

    with pytest.raises(FileNotFoundError, match="nothing here"):
        await pool.together(work)


async def test_a_coroutine_in_a_thread_that_waits_for_something_else_is_a_mistake(pool: ThreadPool) -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.sleep(1)
        finally:
            ended.append(True)

    with pytest.raises(RuntimeError):
        await pool.together(work)
    assert ended == [True]
    # The thread is as good as before.
    assert await pool.run(threading.get_ident) != threading.get_ident()


async def test_a_coroutine_in_a_thread_is_done_to_its_end_also_when_its_caller_goes(
    pool: ThreadPool,
) -> None:
    begun, released = threading.Event(), threading.Event()
    steps = []

    async def work() -> None:
        await pool.run(begun.set)
        await pool.run(lambda: released.wait(10))
        steps.append("after")

    task = asyncio.create_task(pool.together(work))
    await asyncio.to_thread(begun.wait, 10)
    await cancel(task, released)
    assert steps == ["after"]
