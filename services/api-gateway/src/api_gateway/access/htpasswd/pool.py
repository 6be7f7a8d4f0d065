"""Threads for work that takes long, shared fairly between those who ask for it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

_T = TypeVar("_T")


class CrowdedError(Exception):
    """Too much is waiting already."""


class FairPool(Generic[_T]):
    """Runs functions in `threads` threads, in turn for each who asks: who asks for much waits for himself.

    At most `each` functions of one asker wait, and `total` in all.
    """

    def __init__(self, threads: int, *, each: int, total: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="passwords")
        self._free = threads
        self._each = each
        self._total = total
        # In the order of whose turn it is.
        self._waiting: dict[str, deque[tuple[Callable[[], _T], asyncio.Future[_T]]]] = {}
        self._count = 0

    async def run(self, asker: str, function: Callable[[], _T]) -> _T:
        """Run the function. Raises CrowdedError at once when the queue is full."""
        queue = self._waiting.get(asker)
        if self._count >= self._total or (queue is not None and len(queue) >= self._each):
            raise CrowdedError
        result: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(asker, deque()).append((function, result))
        self._count += 1
        self._start()
        return await result

    def close(self) -> None:
        """Start nothing more; what waits is cancelled."""
        for queue in self._waiting.values():
            for _, result in queue:
                result.cancel()
        self._waiting.clear()
        self._count = 0
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        while self._free and self._waiting:
            asker, queue = next(iter(self._waiting.items()))
            function, result = queue.popleft()
            self._count -= 1
            # Behind all others, or out of the row.
            del self._waiting[asker]
            if queue:
                self._waiting[asker] = queue
            if result.cancelled():
                continue
            self._free -= 1
            running = asyncio.get_running_loop().run_in_executor(self._executor, function)
            running.add_done_callback(lambda done, result=result: self._ended(done, result))  # type: ignore[misc]

    def _ended(self, done: asyncio.Future[_T], result: asyncio.Future[_T]) -> None:
        self._free += 1
        if not result.cancelled():
            if done.cancelled():
                result.cancel()
            elif (error := done.exception()) is not None:
                result.set_exception(error)
            else:
                result.set_result(done.result())
        elif not done.cancelled():
            done.exception()
        self._start()
