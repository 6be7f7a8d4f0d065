"""One function over many items, some at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


async def for_each(
    function: Callable[[_Item], Awaitable[_Result]], items: Sequence[_Item], *, limit: int
) -> list[_Result]:
    """`function(item)` of every item, in the items' order, at most `limit` at a time.

    The first failure cancels the others and is raised as it is.
    """
    if len(items) == 1:
        return [await function(items[0])]
    slots = asyncio.Semaphore(limit)

    async def run(item: _Item) -> _Result:
        async with slots:
            return await function(item)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(run(item)) for item in items]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
