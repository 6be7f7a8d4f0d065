"""Many driver calls for one request, a bounded number of them at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from moorage.concurrency import for_each

_A = TypeVar("_A")
_R = TypeVar("_R")

# Enough to hide an object store's latency; one request never fills the driver's own limit.
CALLS_AT_ONCE = 16


async def gather_bounded(call: Callable[[_A], Awaitable[_R]], arguments: Iterable[_A]) -> list[_R]:
    """The results of `call` in the order of the arguments.

    The first error cancels the other calls and is raised.
    """
    return await for_each(call, list(arguments), limit=CALLS_AT_ONCE)
