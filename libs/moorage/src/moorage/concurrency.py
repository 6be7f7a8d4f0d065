"""One function over many items, some at a time; and one call for what many ask at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

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


class Together(Generic[_Item, _Result]):
    """Asks for many items in one call: those that come up in one tick of the event loop.

    `ask` gives the results in the order of its items, which are at most `most` and all different. It runs in
    the context of whoever asked first, and goes on when somebody who waits for it is cancelled. When it
    raises, each item is asked for again by itself, so that one item's failure is not that of the others.
    """

    def __init__(self, ask: Callable[[Sequence[_Item]], Awaitable[Sequence[_Result]]], *, most: int) -> None:
        self._ask = ask
        self._most = most
        # Takes items until it is sent.
        self._open: _Batch[_Item, _Result] | None = None

    async def get(self, item: _Item) -> _Result:
        """The result for one item. Raises what `ask` raises."""
        batch = self._open
        if batch is None:
            batch = self._open = _Batch()
            # It runs in the next tick, when all who run in this one have come here.
            batch.results = asyncio.create_task(self._send(batch))
            batch.results.add_done_callback(_seen)
        position = batch.positions.setdefault(item, len(batch.positions))
        if len(batch.positions) >= self._most:
            self._open = None
        try:
            return (await asyncio.shield(batch.results))[position]
        except Exception:
            if len(batch.positions) == 1:
                raise
        return (await self._ask([item]))[0]

    async def _send(self, batch: _Batch[_Item, _Result]) -> Sequence[_Result]:
        if self._open is batch:
            self._open = None
        return await self._ask(list(batch.positions))


class _Batch(Generic[_Item, _Result]):
    results: asyncio.Task[Sequence[_Result]]

    def __init__(self) -> None:
        self.positions: dict[_Item, int] = {}


def _seen(task: asyncio.Task[Any]) -> None:
    """Take note of a failure that perhaps nobody waits for any more."""
    if not task.cancelled():
        task.exception()
