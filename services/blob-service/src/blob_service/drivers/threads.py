"""Blocking backend calls in a bounded pool of threads, and what it means to cancel one."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from blob_service.drivers.errors import DriverError

_T = TypeVar("_T")


class ThreadPool:
    """At most `size` threads, started as they are needed.

    A blocking call that has begun cannot be cut off. So a cancelled caller waits for it, and only then is
    it told CancelledError: no call goes on behind the back of a caller that believes it over.
    """

    def __init__(self, driver: str, size: int) -> None:
        self.driver = driver
        self._executor = ThreadPoolExecutor(size, thread_name_prefix=driver)
        self._here = _Here()

    async def run(self, call: Callable[[], _T], *, discard: Callable[[_T], None] | None = None) -> _T:
        """Run `call` in a thread. When the caller is cancelled before the call has begun, it does not happen.

        When the caller is cancelled later, a result that it never gets is passed to `discard`, in a thread
        as well: this is where an opened file is closed again. Raises what `call` raises.
        """
        if self._here.together:
            return call()
        pending = self._submit(call)
        future = asyncio.wrap_future(pending)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if not pending.cancel():
                try:
                    await settle(future)
                finally:
                    if discard is not None and future.exception() is None:
                        await settle(self.start(lambda: discard(future.result())))
            raise

    async def together(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Run a coroutine in one thread, with all the calls that it makes of this pool.

        To hand a call to a thread and its result back takes more time than most calls do. The coroutine
        awaits nothing but calls of this pool, and sees the caller's context variables. Raises RuntimeError if
        it awaits something else, and what it raises; cancelling is as for `run`.
        """
        if self._here.together:
            return await work()
        context = contextvars.copy_context()
        return await self.run(lambda: context.run(self._run_through, work))

    def _run_through(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        coroutine = work()
        self._here.together = True
        try:
            coroutine.send(None)
        except StopIteration as end:
            result: _T = end.value
            return result
        finally:
            self._here.together = False
            coroutine.close()
        raise RuntimeError(f"{coroutine!r} waits for more than calls of its driver")

    async def complete(self, call: Callable[[], _T]) -> _T:
        """Run `call` in a thread whether the caller is cancelled or not: for what releases a resource."""
        if self._here.together:
            return call()
        future = self.start(call)
        await settle(future)
        return future.result()

    def start(self, call: Callable[[], _T]) -> asyncio.Future[_T]:
        """Begin `call` without waiting for it. Whoever starts it awaits or settles it."""
        return asyncio.wrap_future(self._submit(call))

    async def close(self) -> None:
        """Wait for the calls that were made, and end the threads. Later calls raise DriverError."""
        await asyncio.to_thread(self._executor.shutdown)

    def _submit(self, call: Callable[[], _T]) -> Any:
        try:
            return self._executor.submit(call)
        except RuntimeError as error:
            raise DriverError(self.driver, "the driver is closed") from error


class _Here(threading.local):
    """Whether this thread runs a coroutine through."""

    together = False


async def settle(future: asyncio.Future[Any]) -> None:
    """Wait until `future` is done, whatever its outcome, even if the waiting task is cancelled meanwhile.

    Raises CancelledError at the end if it was.
    """
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if not future.cancelled():
        # An exception that nobody looks at is logged by asyncio when the future goes.
        future.exception()
    if cancelled is not None:
        raise cancelled
