"""The small parts that the guarantees stand on: work that is completed, chunks read ahead."""

from __future__ import annotations

import asyncio

import pytest

from blob_service.cancellation import run_to_completion
from blob_service.concurrency import CALLS_AT_ONCE, gather_bounded
from blob_service.streams import ReadAhead
from support.atonce import AtOnce


async def test_work_is_completed_though_its_caller_is_cancelled_twice() -> None:
    steps = []

    async def work() -> None:
        for step in range(3):
            await asyncio.sleep(0.02)
            steps.append(step)

    task = asyncio.create_task(run_to_completion(work()))
    for _ in range(2):
        await asyncio.sleep(0.01)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert steps == [0, 1, 2]


async def test_what_work_returns_or_raises_is_the_callers() -> None:
    async def give(value: int) -> int:
        await asyncio.sleep(0)
        if value < 0:
            raise ValueError("negative")
        return value

    assert await run_to_completion(give(3)) == 3
    with pytest.raises(ValueError, match="negative"):
        await run_to_completion(give(-1))


async def test_a_failure_of_work_whose_caller_was_cancelled_is_the_cause() -> None:
    async def work() -> None:
        await asyncio.sleep(0.02)
        raise ValueError("too late")

    task = asyncio.create_task(run_to_completion(work()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert isinstance(caught.value.__cause__, ValueError)


async def test_reading_ahead_holds_one_chunk_more_than_the_caller() -> None:
    fetched = 0

    async def source():
        nonlocal fetched
        for number in range(10):
            fetched += 1
            yield bytes([number])

    seen = []
    async for chunk in ReadAhead(source()):
        await asyncio.sleep(0.005)
        seen.append(chunk)
        assert fetched <= len(seen) + 1
    assert seen == [bytes([number]) for number in range(10)]


async def test_an_error_of_the_source_comes_after_what_came_before_it() -> None:
    async def source():
        yield b"1"
        yield b"2"
        raise ValueError("broken")

    seen = []

    async def read() -> None:
        async for chunk in ReadAhead(source()):
            await asyncio.sleep(0.005)
            seen.append(chunk)

    with pytest.raises(ValueError, match="broken"):
        await read()
    assert seen == [b"1", b"2"]


async def test_calls_are_bounded_and_keep_their_order() -> None:
    at_once = AtOnce()

    async def call(number: int) -> int:
        with at_once:
            await asyncio.sleep(0.001)
        return number * 2

    assert await gather_bounded(call, range(100)) == [number * 2 for number in range(100)]
    assert at_once.most == CALLS_AT_ONCE


async def test_the_first_error_ends_the_other_calls() -> None:
    finished = []

    async def call(number: int) -> None:
        if number == 0:
            raise ValueError("first")
        await asyncio.sleep(0.05)
        finished.append(number)

    with pytest.raises(ValueError, match="first"):
        await gather_bounded(call, range(40))
    await asyncio.sleep(0.1)
    assert finished == []
