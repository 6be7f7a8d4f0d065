"""Many driver calls for one request, a bounded number of them at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

_A = TypeVar("_A")
_R = TypeVar("_R")

# Enough to hide an object store's latency; one request never fills the driver's own limit.
CALLS_AT_ONCE = 16


async def gather_bounded(call: Callable[[_A], Awaitable[_R]], arguments: Iterable[_A]) -> list[_R]:
    """The results of `call` in the order of the arguments.

    The first error cancels the other calls and is raised.
    """
    turns = asyncio.Semaphore(CALLS_AT_ONCE)

    async def one(argument: _A) -> _R:
        async with turns:
            return await call(argument)

    tasks = [asyncio.ensure_future(one(argument)) for argument in arguments]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
