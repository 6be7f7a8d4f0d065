"""Work that belongs together."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from typing import Any

# Seconds until a task that goes on although it was cancelled is cancelled again.
_AGAIN = 0.1


async def until_one_ends(*work: Coroutine[Any, Any, Any]) -> None:
    """Do all of it at once until one part ends, and cancel the others; raises what that one raised."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancelled(tasks)
    for task in done:
        task.result()


async def cancelled(tasks: Collection[asyncio.Future[Any]]) -> None:
    """Cancel tasks, and wait until all have ended.

    Before Python 3.12 `asyncio.wait_for`, which the NATS client uses for each call, may swallow a
    cancellation that comes at the same time as the answer: a loop around it would go on for ever.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN)
    await asyncio.gather(*tasks, return_exceptions=True)
