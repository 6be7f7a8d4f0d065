"""Many calls of a driver for one request."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from blob_service.drivers.interface import StorageDriver
from moorage.concurrency import for_each

_A = TypeVar("_A")
_R = TypeVar("_R")


async def gather_calls(
    driver: StorageDriver, call: Callable[[_A], Coroutine[Any, Any, _R]], arguments: Iterable[_A]
) -> list[_R]:
    """The results of `call`, which awaits calls of the driver only, in the order of the arguments.

    The driver says in how many parts; each takes its arguments in one go. The first error cancels the other
    calls and is raised.
    """
    items = list(arguments)
    if len(items) == 1:
        return [await call(items[0])]

    async def take(part: Sequence[_A]) -> list[_R]:
        return await driver.together(lambda: _one_after_the_other(call, part))

    if not items:
        return []
    count = driver.parts(len(items))
    share = -(-len(items) // count)
    parts = [items[start : start + share] for start in range(0, len(items), share)]
    return [result for part in await for_each(take, parts, limit=count) for result in part]


async def _one_after_the_other(
    call: Callable[[_A], Coroutine[Any, Any, _R]], items: Sequence[_A]
) -> list[_R]:
    return [await call(item) for item in items]
