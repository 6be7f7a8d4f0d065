from __future__ import annotations

import asyncio

import pytest

from notifier.concurrency import cancelled, until_one_ends


async def stubborn(times: int) -> None:
    """Goes on when it is cancelled, so often."""
    for _ in range(times):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            continue
    await asyncio.sleep(60)


async def test_work_ends_with_its_first_part_although_another_one_misses_its_cancellation() -> None:
    async def first() -> None:
        await asyncio.sleep(0)
        raise ValueError("the reason")

    with pytest.raises(ValueError, match="the reason"):
        async with asyncio.timeout(5):
            await until_one_ends(first(), stubborn(1), asyncio.sleep(60))


async def test_tasks_are_cancelled_until_they_have_ended() -> None:
    tasks = [asyncio.ensure_future(stubborn(times)) for times in range(3)]
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await cancelled(tasks)
    assert all(task.cancelled() for task in tasks)
